//! `cairn txn`: several things at once, if some comparisons hold.

use std::path::PathBuf;

use clap::Args;

use super::connect::Door;
use super::output::{Ended, print};
use super::put::read_input;
use super::{Failure, Output, txn_result};

const EXAMPLE: &str = r#"Reads a JSON document, of the same form as POST /v1/txn:

  {"compare": [{"key": "a", "target": "value", "operator": "=", "operand": "1"}],
   "then":    [{"put": {"key": "a", "value": "2"}}, {"delete": {"prefix": "tmp/"}}],
   "else":    [{"get": {"key": "a"}}]}

  target    value, version, created or modified; an absent key has numbers of 0
  operator  =  !=  <  >
  put       key, value; and lease
  delete    key; or prefix; or from and to
  get       key; or prefix; or from and to; and limit

key, value, operand, prefix, from and to may be written as key_base64 and so on, for bytes that are
not text. All comparisons must hold for `then` to be done; otherwise `else` is done, and the exit
code is 1.

Examples:
  cairn txn transfer.json
  echo '{"then":[{"put":{"key":"a","value":"1"}},{"put":{"key":"b","value":"2"}}]}' | cairn txn -"#;

/// `cairn txn`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct TxnArgs {
    /// A file with the transaction as JSON; `-` is stdin
    #[arg(default_value = "-")]
    file: PathBuf,
}

/// Carries out `cairn txn`.
pub(crate) async fn txn(door: Door, args: TxnArgs) -> Result<(), Ended> {
    let text = read_input(&args.file)?;
    let txn = gateway_http::read_txn(&text).map_err(|why| {
        Failure::usage(format!("{}: {why}", args.file.display()))
            .help("`cairn txn --help` shows the form")
    })?;
    let result = door.client.txn(txn).await?;
    match door.output {
        Output::Json => print(&txn_result::result(&result).to_string())?,
        Output::Text => {
            let branch = if result.succeeded { "then" } else { "else" };
            print(&format!("did `{branch}`, revision {}", result.revision))?;
            for line in txn_result::lines(&result) {
                print(&line)?;
            }
        }
    }
    if result.succeeded {
        return Ok(());
    }
    let revision = result.revision.0;
    let message = format!("a comparison did not hold; `else` was done, revision {revision}");
    Err(Failure::no("comparison_failed", message).into())
}

//! What was asked for.

use std::path::PathBuf;
use std::time::Duration;

/// What was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Which figures; all, if it names none.
    pub(crate) names: Vec<String>,
    /// One JSON document for each figure, instead of text.
    pub(crate) json: bool,
    /// How long each load is measured.
    pub(crate) duration: Duration,
    /// How long the cluster is watched for elections.
    pub(crate) minutes: u64,
    /// How often the leader is killed.
    pub(crate) trials: u32,
    /// How many keys the large store holds.
    pub(crate) keys: u64,
    /// Where the nodes' data goes: the disk that is measured.
    pub(crate) dir: PathBuf,
}

impl Options {
    /// `None` if nothing was asked for.
    pub(crate) fn parse(words: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let mut options = Self {
            names: Vec::new(),
            json: false,
            duration: Duration::from_secs(10),
            minutes: 10,
            trials: 20,
            keys: 2_000_000,
            dir: std::env::temp_dir(),
        };
        let mut asked = false;
        let mut words = words;
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            match word.as_str() {
                "--run" => asked = true,
                // `cargo bench` says so to every program that it runs.
                "--bench" => {}
                "--output" => options.json = value()? == "json",
                "--seconds" => options.duration = Duration::from_secs(number(&value()?)?),
                "--minutes" => options.minutes = number(&value()?)?,
                "--trials" => {
                    options.trials =
                        u32::try_from(number(&value()?)?).map_err(|e| e.to_string())?;
                }
                "--keys" => options.keys = number(&value()?)?,
                "--dir" => options.dir = value()?.into(),
                _ if word.starts_with('-') => return Err(format!("what is {word}?")),
                _ => options.names.push(word),
            }
        }
        Ok(asked.then_some(options))
    }

    /// The duration of a load, as the command line of `cairn` takes it.
    pub(crate) fn duration_text(&self) -> String {
        format!("{}s", self.duration.as_secs())
    }
}

fn number(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err(format!("{text:?} is not a number above zero")),
        Ok(number) => Ok(number),
    }
}

/// For whoever asked for something else.
pub(crate) fn usage(figures: &[(&str, &str)]) -> String {
    let figures = figures.iter().map(|(name, what)| format!("  {name:<14}{what}\n"));
    format!(
        "ci/figures/run [NAME…] [--output json] [--seconds N] [--minutes N] [--trials N] [--keys N] \
         [--dir DIR]\n\nNames; all without one:\n{}\n\
         --seconds  how long each load is measured (10)\n\
         --minutes  how long elections are counted (10)\n\
         --trials   how often the leader is killed (20)\n\
         --keys     keys of the large store (2000000)\n\
         --dir      where the nodes' data goes: the disk that is measured",
        figures.collect::<String>()
    )
}

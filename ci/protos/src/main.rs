//! Writes `crates/gateways/etcd/src/pb/` from `crates/gateways/etcd/proto/`: messages, services and
//! their JSON. Run it by `ci/protos/run`, from anywhere, after a change of a `.proto` file.

use std::error::Error;
use std::fs;
use std::path::Path;

use prost::Message;

/// What the generated code is made from, beneath `proto/`.
const FILES: [&str; 5] = ["kv.proto", "auth.proto", "rpc.proto", "lock.proto", "election.proto"];

/// Its packages: one module each.
const PACKAGES: [&str; 5] =
    [".mvccpb", ".authpb", ".etcdserverpb", ".v3lockpb", ".v3electionpb"];

const NOTE: &str = "// Written by ci/protos/run from crates/gateways/etcd/proto: change those files instead.\n";

fn main() -> Result<(), Box<dyn Error>> {
    let gateway = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/gateways/etcd");
    let target = gateway.join("src/pb");
    let descriptors = protox::compile(FILES, [gateway.join("proto")])?;

    let mut config = prost_build::Config::new();
    config.bytes(["."]);
    let builder = tonic_prost_build::configure().build_transport(false).codec_path("crate::codec::Codec").out_dir(&target);
    builder.compile_fds_with_config(descriptors.clone(), config)?;

    pbjson_build::Builder::new()
        .register_descriptors(&descriptors.encode_to_vec())?
        .preserve_proto_field_names()
        .ignore_unknown_fields()
        .out_dir(&target)
        .build(&PACKAGES)?;

    for package in PACKAGES {
        for suffix in ["rs", "serde.rs"] {
            let file = target.join(format!("{}.{suffix}", &package[1..]));
            let text = fs::read_to_string(&file)?;
            fs::write(&file, format!("{NOTE}{text}"))?;
        }
    }
    Ok(())
}

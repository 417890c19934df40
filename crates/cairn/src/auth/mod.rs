//! Who somebody is: passwords, tokens, and what a gateway asks about them.
//!
//! The nodes decide who may do what; they believe this process about who asks. A password is proven once,
//! which takes long on purpose, and then stands for by a token, which every node can verify by itself.

pub(crate) mod guard;
pub(crate) mod jwt;
pub(crate) mod password;
pub(crate) mod simple;

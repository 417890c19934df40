//! The bytes of one connection, as they are or encrypted.
//!
//! Encryption is not ours to choose: whoever wants it hands in a [`Connector`], and this crate needs
//! no library for it. What is not encrypted pays nothing for the possibility: its reads and writes are
//! a branch, no call through a table, and its halves share no lock.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// An encrypted connection.
pub trait Duplex: AsyncRead + AsyncWrite + fmt::Debug + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + fmt::Debug + Send + Unpin> Duplex for T {}

/// An encrypted connection in the making.
pub type Securing = Pin<Box<dyn Future<Output = io::Result<Box<dyn Duplex>>> + Send>>;

/// Encrypts connections that were just made.
pub trait Connector: fmt::Debug + Send + Sync + 'static {
    /// Makes sure that at the other end is `host`, a name or an IP address, and agrees on keys.
    fn secure(&self, stream: TcpStream, host: &str) -> Securing;

    /// What an error of such a connection means, if no retry will help: that the other side is not
    /// trusted, or does not trust us.
    fn explain(&self, error: &io::Error) -> Option<String>;
}

/// A connection.
#[derive(Debug)]
pub enum Stream {
    /// As it came.
    Plain(TcpStream),
    /// Encrypted.
    Secure(Box<dyn Duplex>),
}

/// The half that is read.
#[derive(Debug)]
pub enum ReadHalf {
    /// As it came.
    Plain(OwnedReadHalf),
    /// Encrypted.
    Secure(tokio::io::ReadHalf<Box<dyn Duplex>>),
}

/// The half that is written. What was written to an encrypted one may wait for a flush.
#[derive(Debug)]
pub enum WriteHalf {
    /// As it came.
    Plain(OwnedWriteHalf),
    /// Encrypted.
    Secure(tokio::io::WriteHalf<Box<dyn Duplex>>),
}

impl Stream {
    /// Both halves, for two tasks.
    pub fn into_split(self) -> (ReadHalf, WriteHalf) {
        match self {
            Self::Plain(stream) => {
                let (read, write) = stream.into_split();
                (ReadHalf::Plain(read), WriteHalf::Plain(write))
            }
            Self::Secure(stream) => {
                let (read, write) = tokio::io::split(stream);
                (ReadHalf::Secure(read), WriteHalf::Secure(write))
            }
        }
    }
}

macro_rules! pass_reads_on {
    ($type:ty) => {
        impl AsyncRead for $type {
            fn poll_read(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
                buffer: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
                    Self::Secure(stream) => Pin::new(stream).poll_read(context, buffer),
                }
            }
        }
    };
}

macro_rules! pass_writes_on {
    ($type:ty) => {
        impl AsyncWrite for $type {
            fn poll_write(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
                bytes: &[u8],
            ) -> Poll<io::Result<usize>> {
                match self.get_mut() {
                    Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
                    Self::Secure(stream) => Pin::new(stream).poll_write(context, bytes),
                }
            }

            fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    Self::Plain(stream) => Pin::new(stream).poll_flush(context),
                    Self::Secure(stream) => Pin::new(stream).poll_flush(context),
                }
            }

            fn poll_shutdown(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
            ) -> Poll<io::Result<()>> {
                match self.get_mut() {
                    Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
                    Self::Secure(stream) => Pin::new(stream).poll_shutdown(context),
                }
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
                slices: &[io::IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                match self.get_mut() {
                    Self::Plain(stream) => Pin::new(stream).poll_write_vectored(context, slices),
                    Self::Secure(stream) => Pin::new(stream).poll_write_vectored(context, slices),
                }
            }

            fn is_write_vectored(&self) -> bool {
                match self {
                    Self::Plain(stream) => stream.is_write_vectored(),
                    Self::Secure(stream) => stream.is_write_vectored(),
                }
            }
        }
    };
}

pass_reads_on!(Stream);
pass_writes_on!(Stream);
pass_reads_on!(ReadHalf);
pass_writes_on!(WriteHalf);

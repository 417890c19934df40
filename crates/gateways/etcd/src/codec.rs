//! Messages to bytes and back: protobuf, in buffers as large as they have to be.
//!
//! An answer's buffer is made once, at its length: a range of a thousand keys does not outgrow
//! one buffer after the other, and a small answer does not pay for a large one.

use std::marker::PhantomData;

use prost::Message;
use tonic::Status;
use tonic::codec::{BufferSettings, DecodeBuf, Decoder, EncodeBuf, Encoder};

/// Bytes that a buffer begins with: most requests and answers fit.
const FIRST_BYTES: usize = 512;

/// Bytes of small messages of one stream that leave together.
const GATHERED_BYTES: usize = 32 * 1024;

fn settings() -> BufferSettings {
    BufferSettings::new(FIRST_BYTES, GATHERED_BYTES)
}

/// Encodes `T` and decodes `U`.
#[derive(Debug)]
pub(crate) struct Codec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> tonic::codec::Codec for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = Writing<T>;
    type Decoder = Reading<U>;

    fn encoder(&mut self) -> Writing<T> {
        Writing(PhantomData)
    }

    fn decoder(&mut self) -> Reading<U> {
        Reading::new()
    }
}

/// Encodes `T`.
#[derive(Debug)]
pub(crate) struct Writing<T>(PhantomData<T>);

impl<T: Message> Encoder for Writing<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, message: T, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(message.encoded_len());
        message.encode_raw(buffer);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        settings()
    }
}

/// Decodes `U`.
#[derive(Debug)]
pub(crate) struct Reading<U>(PhantomData<U>);

impl<U> Reading<U> {
    pub(crate) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<U: Message + Default> Decoder for Reading<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        let message = U::decode(bytes);
        message.map(Some).map_err(|error| Status::internal(error.to_string()))
    }

    fn buffer_settings(&self) -> BufferSettings {
        settings()
    }
}

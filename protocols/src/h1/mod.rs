//! HTTP/1.1 and HTTP/1.0, both roles.
use std::sync::Arc;
use std::time::Instant;

use crate::{
    Cx, Decoded, Error, Fault, Framing, Gone, Head, Mux, ReadSide, Role, Sides, StreamId, Traits,
    Wire, WireSpec, WriteSide,
};

/// An HTTP/1 wire.
#[derive(Debug)]
pub struct H1;

impl H1 {
    /// A wire.
    pub fn new(_role: Role, _spec: &Arc<WireSpec>) -> H1 {
        H1
    }
    /// See [`crate::AnyWire::must_reset`].
    pub fn must_reset(&self) -> bool {
        false
    }
}

impl Wire for H1 {
    fn decode(&mut self, input: &[u8], _: &mut Cx<'_>) -> Result<Decoded, Error> {
        Ok(Decoded { used: input.len(), event: None })
    }
    fn eof(&mut self, _: bool, _: &mut Cx<'_>) -> Result<(), Error> {
        Ok(())
    }
    fn sides(&self) -> Sides {
        Sides { read: ReadSide::Open, write: WriteSide::Open }
    }
    fn traits(&self) -> Traits {
        Traits { mux: Mux::One, stream_credit: false, needs_length: false }
    }
    fn open(&mut self) -> Option<StreamId> {
        None
    }
    fn ready(&self, _: StreamId) -> bool {
        true
    }
    fn release(&mut self, _: StreamId) {}
    fn head(&mut self, _: StreamId, _: &Head, _: bool, _: &mut Cx<'_>) -> Result<(), Gone> {
        Err(Gone)
    }
    fn data(&mut self, _: StreamId, _: usize, _: bool, _: &mut Cx<'_>) -> Result<Framing, Gone> {
        Err(Gone)
    }
    fn end(&mut self, _: StreamId, _: Option<&Head>, _: &mut Cx<'_>) -> Result<(), Gone> {
        Err(Gone)
    }
    fn reset(&mut self, _: StreamId, _: Fault, _: &mut Cx<'_>) {}
    fn credit(&mut self, _: StreamId, _: u32, _: &mut Cx<'_>) {}
    fn fail(&mut self, _: Error, _: &mut Cx<'_>) {}
    fn drain(&mut self, _: bool, _: &mut Cx<'_>) {}
    fn deadline(&self) -> Option<Instant> {
        None
    }
    fn tick(&mut self, _: &mut Cx<'_>) -> Result<(), Error> {
        Ok(())
    }
}

//! Protocol of claude: decoder of its output stream, and the messages that zen sends. One line in, one [`Event`] out.

mod decode;
mod event;
mod fast_path;
mod initialize;
pub mod request;
mod turn_result;
mod value;

pub use decode::{decode, is_result};
pub use event::{
    ContentBlock, Denial, Event, InitializeError, Leaves, Message, Retry, Task, ToolResult, ToolUse, TurnResult,
};
pub use initialize::initialize_response;

#[cfg(test)]
mod tests;

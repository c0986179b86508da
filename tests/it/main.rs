//! zen's suite of whole runs: the zen program itself, on the stand-in for claude or on the real one, in a place of its
//! own. The pure parts are tested beside their code.

mod support;

mod before_launch;
mod demo_and_docs;
mod faults;
mod seed;
mod signals;

//! Parser of `--halt`, which stops the run after a number of failures. The syntax is GNU parallel's. Pure.

use std::fmt;

/// Condition on which failed instances stop the run, and the mode of the stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Halt {
    /// Mode of the stop.
    pub mode: HaltMode,
    /// Number of failures that stop the run.
    pub threshold: Threshold,
}

/// Mode in which a run stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HaltMode {
    /// Start no more instances; running ones finish.
    Soon,
    /// Stop running instances too.
    Now,
}

/// Number of failures that stop a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threshold {
    /// Number of instances.
    Count(usize),
    /// Percentage of all instances.
    Percent(u8),
}

/// Regular expression for the values that [`Halt::parse`] accepts, for the schema.
pub const PATTERN: &str = "^(soon|now),fail=([1-9][0-9]{0,5}|([1-9][0-9]?|100)%)$";

/// Form of the option's value.
pub const FORM: &str = "soon|now,fail=N|N%";

/// Description of the type of the value, for messages.
pub const DESCRIPTION: &str = "a string such as soon,fail=1";

/// Text that is not of the form [`FORM`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HaltError;

impl fmt::Display for HaltError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "must be {FORM}, with N above 0")
    }
}

impl Halt {
    /// Parses `soon,fail=1` or `now,fail=30%`.
    ///
    /// # Errors
    /// Returns an error if the text has another form.
    pub fn parse(text: &str) -> Result<Halt, HaltError> {
        let (mode, threshold) = text.split_once(",fail=").ok_or(HaltError)?;
        let mode = match mode {
            "soon" => HaltMode::Soon,
            "now" => HaltMode::Now,
            _ => return Err(HaltError),
        };
        Ok(Halt { mode, threshold: Threshold::parse(threshold).ok_or(HaltError)? })
    }

    /// Returns true if this many failures, out of this many instances, stop the run.
    #[must_use]
    pub fn is_reached(self, failed: usize, instances: usize) -> bool {
        match self.threshold {
            Threshold::Count(count) => failed >= count,
            Threshold::Percent(percent) => failed > 0 && failed * 100 >= instances * usize::from(percent),
        }
    }
}

impl Threshold {
    /// Parses `12` or `30%`.
    fn parse(text: &str) -> Option<Threshold> {
        if text.starts_with(['0', '+']) || text.len() > 6 {
            return None;
        }
        match text.strip_suffix('%') {
            Some(percent) => match percent.parse().ok()? {
                percent @ 1..=100 => Some(Threshold::Percent(percent)),
                _ => None,
            },
            None => match text.parse().ok()? {
                0 => None,
                count => Some(Threshold::Count(count)),
            },
        }
    }
}

impl fmt::Display for Halt {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let mode = match self.mode {
            HaltMode::Soon => "soon",
            HaltMode::Now => "now",
        };
        match self.threshold {
            Threshold::Count(count) => write!(f, "{mode},fail={count}"),
            Threshold::Percent(percent) => write!(f, "{mode},fail={percent}%"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halt_is_parsed() {
        for text in ["soon,fail=1", "now,fail=12", "soon,fail=30%", "now,fail=100%"] {
            assert_eq!(Halt::parse(text).map(|halt| halt.to_string()).as_deref(), Ok(text));
        }
        for text in [
            "",
            "soon",
            "never,fail=1",
            "soon,fail=0",
            "soon,fail=0%",
            "now,fail=101%",
            "now,fail=-1",
            "now,fail=+1",
            "now,fail=01",
            "now,done=1",
        ] {
            assert_eq!(Halt::parse(text), Err(HaltError), "{text}");
        }
    }

    #[test]
    fn a_percentage_is_of_all_instances_and_needs_a_failure() {
        let halt = Halt::parse("soon,fail=30%").expect("a halt");
        let reached: Vec<bool> = (0..=4).map(|failed| halt.is_reached(failed, 10)).collect();
        assert_eq!(reached, [false, false, false, true, true]);
        assert!(!halt.is_reached(0, 0));
        let halt = Halt::parse("now,fail=2").expect("a halt");
        assert!(!halt.is_reached(1, 10) && halt.is_reached(2, 10));
    }
}

//! What can be typed.

use std::str::FromStr;

use clap::Parser;
use dr_catalogue::CatalogueArgs;
use dr_pipe::args::{ReceiptArgs, cluster_name};
use dr_pipe::record::Kind;

/// Write a stored backup to standard output, verified against its signed manifest
#[derive(Debug, Parser)]
#[command(name = "dr-pull", version)]
pub struct Args {
    /// A backup's name, its beginning, or `latest`
    #[arg(value_name = "NAME", required_unless_present = "object", conflicts_with = "object")]
    pub name: Option<String>,

    /// Take a backup of this cluster
    #[arg(long, value_name = "NAME", env = "DR_CLUSTER", value_parser = cluster_name)]
    pub cluster: Option<String>,

    /// Take a backup of this kind [default for latest: dump]
    #[arg(long, value_name = "KIND", env = "DR_KIND")]
    pub kind: Option<Kind>,

    /// Read the object of this key, without any manifest: unverified
    #[arg(long, value_name = "KEY")]
    pub object: Option<String>,

    /// Write only this part, unverified: FIRST-LAST, FIRST+LENGTH or FIRST- (bytes, from 0)
    #[arg(long, value_name = "RANGE")]
    pub range: Option<Range>,

    /// Read the object twice: write nothing before all of it has been verified
    #[arg(long, env = "DR_VERIFY_FIRST", value_parser = clap::builder::FalseyValueParser::new(), conflicts_with_all = ["range", "object"])]
    pub verify_first: bool,

    #[command(flatten)]
    pub catalogue: CatalogueArgs,

    #[command(flatten)]
    pub receipt: ReceiptArgs,
}

/// A part of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Offset of the first byte.
    pub first: u64,
    /// How many bytes; to the end if absent.
    pub length: Option<u64>,
}

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "write FIRST-LAST, FIRST+LENGTH or FIRST-, in bytes from 0".to_owned();
        let number = |text: &str| text.parse::<u64>().map_err(|_| wrong());
        if let Some((first, length)) = text.split_once('+') {
            return Ok(Range { first: number(first)?, length: Some(number(length)?) });
        }
        let (first, last) = text.split_once('-').ok_or_else(wrong)?;
        let first = number(first)?;
        if last.is_empty() {
            return Ok(Range { first, length: None });
        }
        let length = number(last)?.checked_sub(first).and_then(|more| more.checked_add(1));
        Ok(Range { first, length: Some(length.ok_or_else(wrong)?) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_written_as_curl_has_it_or_with_a_length() {
        assert_eq!("0-0".parse(), Ok(Range { first: 0, length: Some(1) }));
        assert_eq!("5-9".parse(), Ok(Range { first: 5, length: Some(5) }));
        assert_eq!("5+9".parse(), Ok(Range { first: 5, length: Some(9) }));
        assert_eq!("5-".parse(), Ok(Range { first: 5, length: None }));
        for wrong in ["", "5", "-5", "9-5", "+5", "a-b", "1+", "0-18446744073709551615"] {
            assert!(wrong.parse::<Range>().is_err(), "{wrong}");
        }
    }
}

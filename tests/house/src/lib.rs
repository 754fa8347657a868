//! The house rules that can be told by a machine, each a test. What they hold for is found by looking, not listed by hand.

#[cfg(test)]
mod dependencies;
#[cfg(test)]
mod manual;
#[cfg(test)]
mod programs;
#[cfg(test)]
mod records;
#[cfg(test)]
mod scripts;
#[cfg(test)]
mod sources;
#[cfg(test)]
mod supply;
#[cfg(test)]
mod tree;

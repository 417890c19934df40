//! The journal over a disk that loses, tears, rots and fills up: what was synced is there, what was
//! not is there whole or not at all, and what can't be had any more is said.

#[cfg(test)]
mod crashes;
#[cfg(test)]
mod damage;
#[cfg(test)]
mod format;
#[cfg(test)]
mod limits;
#[cfg(test)]
#[cfg(feature = "planted")]
mod planted;
#[cfg(test)]
mod segments;
#[cfg(test)]
mod support;
#[cfg(test)]
mod verify;

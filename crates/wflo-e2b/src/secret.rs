//! Names and tokens that nobody can guess.

use std::io;

/// So many letters and digits: a name is part of a host's name, which has no upper case.
const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// How long a sandbox's name is.
pub(crate) const NAME: usize = 26;

fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        let rest = bytes.get_mut(filled..).unwrap_or_default();
        filled += rustix::rand::getrandom(rest, rustix::rand::GetRandomFlags::empty())?;
    }
    Ok(bytes)
}

/// The name of a sandbox: 125 bits by chance.
///
/// # Errors
/// When the system has no random bytes.
pub(crate) fn name() -> io::Result<String> {
    let letter = |byte: u8| LETTERS.get(usize::from(byte % 32)).copied().map_or('a', char::from);
    let rest = random::<{ NAME - 1 }>()?.into_iter().map(letter);
    Ok(std::iter::once('i').chain(rest).collect())
}

/// A token: 256 bits by chance, in hexadecimal digits.
///
/// # Errors
/// When the system has no random bytes.
pub(crate) fn token() -> io::Result<String> {
    Ok(random::<32>()?.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A key as E2B's clients expect them: `e2b_` and 40 hexadecimal digits.
///
/// # Errors
/// When the system has no random bytes.
pub fn new_key() -> io::Result<String> {
    let digits: String = random::<20>()?.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("e2b_{digits}"))
}

/// Whether both are the same; how long it takes to tell says nothing of where they differ.
pub(crate) fn same(one: &str, other: &str) -> bool {
    // Hashes are compared in constant time.
    blake3::hash(one.as_bytes()) == blake3::hash(other.as_bytes())
}

//! A user and a password, with which a connection proves who uses it.

use std::fmt;

use wire::Hidden;

/// Who uses a connection. The node at its other end asks for what is asked in this name, once the password
/// is proven; where nobody is asked who he is, it does no harm.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The user's name.
    pub user: String,
    /// The password.
    pub password: Hidden,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}

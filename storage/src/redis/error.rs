//! What the errors of Redis and of its client mean to a grain.

use gristmill_grains::storage::StorageError;
use redis::{ErrorKind, RedisError, ServerErrorKind};

/// An error in operation. All are transient (loading, read-only, out of memory, no quorum, no answer...), as the
/// operator or time may cure them, except a key that holds something else than a grain.
pub(super) fn in_operation(error: &RedisError) -> StorageError {
    let text = text(error);
    // Before Redis 7, the code of an error inside a script is within its text.
    if error.code() == Some("WRONGTYPE") || text.contains("WRONGTYPE") {
        return StorageError::Unreadable { detail: text };
    }
    StorageError::unavailable(text)
}

/// What it says, without what a server repeats of a command that it does not know: that may be the password.
pub(super) fn text(error: &RedisError) -> String {
    let text = error.to_string();
    match text.split_once(", with args beginning with") {
        Some((told, _)) => told.to_owned(),
        None => text,
    }
}

/// An error while connecting: what waiting cannot cure is told as such.
pub(super) fn at_connect(error: &RedisError) -> StorageError {
    use ErrorKind::{InvalidClientConfig, Server};
    let text = text(error);
    // The client of a cluster gives a node's answer as text only.
    let refusals = ["AuthenticationFailed", "NOAUTH", "WRONGPASS", "cluster support disabled"];
    let wrong = matches!(error.kind(), InvalidClientConfig | Server(ServerErrorKind::NoPerm))
        || refusals.iter().any(|refusal| text.contains(refusal));
    if wrong {
        return StorageError::Misconfigured { detail: format!("it refuses the connection: {text}") };
    }
    in_operation(error)
}

/// Does the server serve another's data, or none? When it takes writes again, it may have lost some.
pub(super) fn is_demoted(error: &RedisError) -> bool {
    let codes = ["READONLY", "MASTERDOWN"];
    // Before Redis 7, the code of an error inside a script is within its text.
    error.code().is_some_and(|code| codes.contains(&code) || code == "ERR" && is_within(error, &codes))
}

fn is_within(error: &RedisError, codes: &[&str]) -> bool {
    let text = error.to_string();
    codes.iter().any(|code| text.contains(code))
}

/// Does the server not know the script by its hash?
pub(super) fn is_noscript(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}

#[cfg(test)]
mod tests {
    use redis::make_extension_error;

    use super::*;

    fn error(code: &str, detail: &str) -> RedisError {
        make_extension_error(code.to_owned(), Some(detail.to_owned()))
    }

    #[test]
    fn what_time_may_cure_is_transient() {
        let codes = "LOADING MISCONF READONLY OOM TRYAGAIN CLUSTERDOWN MASTERDOWN NOREPLICAS BUSY ERR";
        for code in codes.split(' ') {
            let answer = in_operation(&error(code, "some explanation"));
            assert!(!answer.is_definite(), "{code}: {answer:?}");
        }
        let silence = RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut));
        assert!(!in_operation(&silence).is_definite());
    }

    #[test]
    fn demotion_is_known_wherever_it_is_told() {
        let within = error("ERR", "Error running script: @user_script:30: -READONLY You can't write");
        assert!(is_demoted(&within) && is_demoted(&error("READONLY", "")) && is_demoted(&error("MASTERDOWN", "")));
        assert!(!is_demoted(&error("LOADING", "")) && !is_demoted(&error("ERR", "other")));
    }

    #[test]
    fn a_repeated_command_is_left_out() {
        let error = error("ERR", "unknown command 'HELLO', with args beginning with: '3' 'AUTH' 'me' 'hush' ");
        for told in [in_operation(&error), at_connect(&error)] {
            assert!(told.to_string().ends_with("unknown command 'HELLO'"), "{told}");
        }
    }

    #[test]
    fn another_type_is_unreadable_wherever_it_is_told() {
        for error in [
            error("WRONGTYPE", "Operation against a key holding the wrong kind of value"),
            error("ERR", "Error running script: @user_script:9: WRONGTYPE Operation against a key"),
        ] {
            assert!(matches!(in_operation(&error), StorageError::Unreadable { .. }), "{error}");
        }
    }
}

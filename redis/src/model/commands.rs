//! The commands that scripts call, and a few more.

use redis::Value;

use super::keyspace::{Fields, Keyspace};

/// A command that there is.
pub(super) struct Known {
    name: &'static str,
    /// Its words, the name included: at least, and at most.
    words: (usize, usize),
    /// Does it change the data?
    pub(super) writes: bool,
    /// May it take memory? Then it is refused where there is none.
    pub(super) grows: bool,
    /// Is it answered while the data is read?
    pub(super) while_loading: bool,
}

const MANY: usize = usize::MAX;

const fn reads(name: &'static str, words: usize) -> Known {
    Known { name, words: (words, words), writes: false, grows: false, while_loading: false }
}

const fn writes(name: &'static str, words: (usize, usize)) -> Known {
    Known { name, words, writes: true, grows: false, while_loading: false }
}

const fn grows(name: &'static str, words: (usize, usize)) -> Known {
    Known { name, words, writes: true, grows: true, while_loading: false }
}

/// Of the server's commands those that the adapters use, in the forms that they use.
const KNOWN: [Known; 19] = [
    reads("PING", 1),
    reads("GET", 2),
    reads("HGET", 3),
    reads("HKEYS", 2),
    reads("HGETALL", 2),
    reads("PTTL", 2),
    writes("FLUSHALL", (1, 1)),
    writes("DEL", (2, 2)),
    writes("HDEL", (3, MANY)),
    writes("PEXPIRE", (3, 3)),
    writes("PERSIST", (2, 2)),
    grows("SET", (3, 3)),
    grows("HSET", (4, MANY)),
    grows("HINCRBY", (4, 4)),
    Known { words: (3, MANY), ..reads("EVAL", 0) },
    Known { words: (3, MANY), ..reads("EVALSHA", 0) },
    Known { words: (2, MANY), ..reads("SCRIPT", 0) },
    Known { words: (1, MANY), while_loading: true, ..reads("INFO", 0) },
    Known { words: (2, MANY), while_loading: true, ..reads("CONFIG", 0) },
];

/// Finds a command, and checks how many words it has.
pub(super) fn known(command: &[Vec<u8>]) -> Result<&'static Known, String> {
    let name = name(command);
    let Some(known) = KNOWN.iter().find(|known| known.name == name) else { return Err(unknown(command)) };
    let (least, most) = known.words;
    if (least..=most).contains(&command.len()) { Ok(known) } else { Err(arity(known.name)) }
}

fn unknown(command: &[Vec<u8>]) -> String {
    let mut words = command.iter().map(|word| String::from_utf8_lossy(word));
    let name = words.next().unwrap_or_default();
    let mut args = String::new();
    for word in words {
        if args.len() >= 128 {
            break;
        }
        let room = 128 - args.len();
        args.extend(["'", &word.chars().take(room).collect::<String>(), "' "]);
    }
    format!("ERR unknown command '{name}', with args beginning with: {args}")
}

fn arity(name: &str) -> String {
    format!("ERR wrong number of arguments for '{}' command", name.to_lowercase())
}

pub(super) fn name(command: &[Vec<u8>]) -> String {
    String::from_utf8_lossy(command.first().map_or(&[][..], Vec::as_slice)).to_uppercase()
}

/// A number, written as the server itself would write it: no sign but a minus, no zeros in front.
pub(super) fn number(text: &[u8]) -> Result<i64, String> {
    let parsed = std::str::from_utf8(text).ok().and_then(|text| text.parse::<i64>().ok());
    let exact = parsed.filter(|number| number.to_string().as_bytes() == text);
    exact.ok_or_else(|| "ERR value is not an integer or out of range".to_owned())
}

fn bulk(value: Option<&Vec<u8>>) -> Value {
    value.map_or(Value::Nil, |value| Value::BulkString(value.clone()))
}

fn okay() -> Value {
    Value::Okay
}

fn int(number: impl TryInto<i64>) -> Value {
    Value::Int(number.try_into().unwrap_or(i64::MAX))
}

/// Runs a command on the data, at a time.
pub(super) fn run(keys: &mut Keyspace, command: &[Vec<u8>], now: u64) -> Result<Value, String> {
    let name = name(command);
    let args: Vec<&[u8]> = command.iter().skip(1).map(Vec::as_slice).collect();
    match (name.as_str(), args.as_slice()) {
        ("PING", []) => Ok(Value::SimpleString("PONG".to_owned())),
        ("FLUSHALL", []) => {
            keys.clear();
            Ok(okay())
        }
        ("GET", [key]) => keys.text(key, now).map(bulk),
        ("SET", [key, value]) => {
            keys.set(key, value.to_vec());
            Ok(okay())
        }
        ("DEL", [key]) => {
            let there = keys.exists(key, now);
            keys.remove(key);
            Ok(int(there as u8))
        }
        ("HGET", [key, field]) => Ok(bulk(keys.hash(key, now)?.and_then(|fields| fields.get(field)))),
        ("HKEYS", [key]) => {
            let fields = keys.hash(key, now)?.into_iter().flat_map(Fields::iter).map(|(field, _)| field);
            Ok(Value::Array(fields.map(|field| Value::BulkString(field.clone())).collect()))
        }
        ("HGETALL", [key]) => {
            let fields =
                keys.hash(key, now)?.into_iter().flat_map(Fields::iter).flat_map(|(field, value)| [field, value]);
            Ok(Value::Array(fields.map(|text| Value::BulkString(text.clone())).collect()))
        }
        ("HSET", [key, pairs @ ..]) if !pairs.is_empty() && pairs.len() % 2 == 0 => {
            let fields = keys.hash_mut(key, now)?;
            let pairs = pairs.chunks_exact(2);
            let new = pairs.map(|pair| fields.insert(pair[0], pair[1].to_vec()).is_none()).filter(|new| *new);
            Ok(int(new.count()))
        }
        ("HDEL", [key, fields @ ..]) if !fields.is_empty() => {
            if keys.hash(key, now)?.is_none() {
                return Ok(int(0));
            }
            let all = keys.hash_mut(key, now)?;
            let removed = fields.iter().filter(|field| all.remove(field)).count();
            if all.is_empty() {
                keys.remove(key);
            }
            Ok(int(removed))
        }
        ("HINCRBY", [key, field, by]) => {
            let by = number(by)?;
            let fields = keys.hash_mut(key, now)?;
            let is = fields
                .get(field)
                .map_or(Ok(0), |is| number(is).map_err(|_| "ERR hash value is not an integer".to_owned()))?;
            let sum = is.checked_add(by).ok_or("ERR increment or decrement would overflow")?;
            fields.insert(field, sum.to_string().into_bytes());
            Ok(int(sum))
        }
        ("PEXPIRE", [key, after]) => {
            let after = number(after)?;
            let at = i64::try_from(now).ok().and_then(|now| now.checked_add(after));
            let at = at.ok_or("ERR invalid expire time in 'pexpire' command")?;
            let there = keys.exists(key, now);
            match u64::try_from(at) {
                Ok(at) if at > now && there => keys.set_expiry(key, Some(at)),
                // What has expired does not come back.
                _ => keys.remove(key),
            }
            Ok(int(there as u8))
        }
        ("PERSIST", [key]) => {
            let expires = keys.exists(key, now) && keys.expiry(key).is_some();
            if expires {
                keys.set_expiry(key, None);
            }
            Ok(int(expires as u8))
        }
        ("PTTL", [key]) => Ok(match (keys.exists(key, now), keys.expiry(key)) {
            (false, _) => Value::Int(-2),
            (true, None) => Value::Int(-1),
            (true, Some(at)) => int(at.saturating_sub(now)),
        }),
        // Known, in a form that it does not have.
        _ => Err(arity(&name)),
    }
}

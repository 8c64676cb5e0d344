//! The commands that scripts call, and a few more.

use std::str::FromStr;

use redis::Value;

use super::keyspace::Keyspace;

/// Does the command write?
pub(super) fn writes(name: &str) -> bool {
    matches!(name, "SET" | "DEL" | "HSET" | "HDEL" | "HINCRBY" | "PEXPIRE" | "PERSIST" | "FLUSHALL")
}

pub(super) fn name(command: &[Vec<u8>]) -> String {
    String::from_utf8_lossy(command.first().map_or(&[][..], Vec::as_slice)).to_uppercase()
}

fn number<T: FromStr>(text: &[u8]) -> Result<T, String> {
    let parsed = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| "ERR value is not an integer or out of range".to_owned())
}

fn bulk(value: Option<&Vec<u8>>) -> Value {
    value.map_or(Value::Nil, |value| Value::BulkString(value.clone()))
}

fn okay() -> Value {
    Value::SimpleString("OK".to_owned())
}

fn int(number: impl TryInto<i64>) -> Value {
    Value::Int(number.try_into().unwrap_or(i64::MAX))
}

/// Runs a command on the data, at a time.
pub(super) fn run(keys: &mut Keyspace, command: &[Vec<u8>], now: u64) -> Result<Value, String> {
    let name = name(command);
    let args: Vec<&[u8]> = command.iter().skip(1).map(Vec::as_slice).collect();
    let arity = || Err(format!("ERR wrong number of arguments for '{}' command", name.to_lowercase()));
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
        ("HGET", [key, field]) => Ok(bulk(keys.hash(key, now)?.and_then(|fields| fields.get(*field)))),
        ("HKEYS", [key]) => {
            let fields = keys.hash(key, now)?.into_iter().flat_map(|fields| fields.keys());
            Ok(Value::Array(fields.map(|field| Value::BulkString(field.clone())).collect()))
        }
        ("HGETALL", [key]) => {
            let fields = keys.hash(key, now)?.into_iter().flatten().flat_map(|(field, value)| [field, value]);
            Ok(Value::Array(fields.map(|text| Value::BulkString(text.clone())).collect()))
        }
        ("HSET", [key, pairs @ ..]) if !pairs.is_empty() && pairs.len() % 2 == 0 => {
            let fields = keys.hash_mut(key, now)?;
            let pairs = pairs.chunks_exact(2);
            let new = pairs.map(|pair| fields.insert(pair[0].to_vec(), pair[1].to_vec()).is_none()).filter(|new| *new);
            Ok(int(new.count()))
        }
        ("HDEL", [key, fields @ ..]) if !fields.is_empty() => {
            if keys.hash(key, now)?.is_none() {
                return Ok(int(0));
            }
            let all = keys.hash_mut(key, now)?;
            let removed = fields.iter().filter(|field| all.remove(**field).is_some()).count();
            if all.is_empty() {
                keys.remove(key);
            }
            Ok(int(removed))
        }
        ("HINCRBY", [key, field, by]) => {
            let by: i64 = number(by)?;
            let fields = keys.hash_mut(key, now)?;
            let is = fields
                .get(*field)
                .map_or(Ok(0), |is| number::<i64>(is).map_err(|_| "ERR hash value is not an integer".to_owned()))?;
            let sum = is.checked_add(by).ok_or("ERR increment or decrement would overflow")?;
            fields.insert(field.to_vec(), sum.to_string().into_bytes());
            Ok(int(sum))
        }
        ("PEXPIRE", [key, after]) => {
            let after: u64 = number(after)?;
            let there = keys.exists(key, now);
            if there {
                keys.set_expiry(key, Some(now.saturating_add(after)));
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
        (
            "PING" | "FLUSHALL" | "GET" | "SET" | "DEL" | "HGET" | "HKEYS" | "HGETALL" | "HSET" | "HDEL" | "HINCRBY"
            | "PEXPIRE" | "PERSIST" | "PTTL",
            _,
        ) => arity(),
        _ => Err(format!("ERR unknown command '{}'", String::from_utf8_lossy(&command[0]))),
    }
}

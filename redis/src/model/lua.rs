//! The scripts' language. One interpreter a thread: scripts leave nothing behind in it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;

use mlua::{Error, Function, Lua, MultiValue, StdLib, Table, Value as Of};
use redis::Value;

/// Runs what a script calls.
pub(super) trait Host {
    fn call(&mut self, command: &[Vec<u8>]) -> Result<Value, String>;
}

/// A script's text without its first line, and what that says.
pub(super) struct Text<'a> {
    pub(super) body: &'a str,
    /// It begins with `#!`: what it may do is known before it runs.
    pub(super) declared: bool,
    pub(super) allow_oom: bool,
}

impl<'a> Text<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        let Some(rest) = text.strip_prefix("#!") else { return Self { body: text, declared: false, allow_oom: false } };
        // The line break stays, so that lines keep their numbers.
        let (first, body) = rest.split_at(rest.find('\n').unwrap_or(rest.len()));
        Self { body, declared: true, allow_oom: first.contains("allow-oom") }
    }
}

struct Interpreter {
    lua: Lua,
    scripts: BTreeMap<String, Function>,
}

/// A call out of a script, under way on this thread.
type Caller = Box<dyn FnMut(&[Vec<u8>]) -> Result<Value, String>>;

thread_local! {
    static INTERPRETER: RefCell<Option<Interpreter>> = const { RefCell::new(None) };
    static CALLER: RefCell<Option<Caller>> = const { RefCell::new(None) };
}

/// The chunk's name in messages.
const CHUNK: &str = "user_script";

/// What a command that a script called was refused with, and in which line.
#[derive(Debug)]
struct Refused {
    text: String,
    line: usize,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Refused {}

/// An error that ended a script, as the server tells it.
fn failure(error: &Error, hash: &str) -> String {
    if let Error::CallbackError { cause, .. } = error {
        return failure(cause, hash);
    }
    if let Some(Refused { text, line }) = error.downcast_ref() {
        return format!("{text} script: {hash}, on @{CHUNK}:{line}.");
    }
    let text = match error {
        Error::RuntimeError(text) | Error::SyntaxError { message: text, .. } => text.clone(),
        other => other.to_string(),
    };
    // What follows is where it was called from.
    let text = text.lines().next().unwrap_or_default();
    if matches!(error, Error::SyntaxError { .. }) {
        return format!("ERR Error compiling script (new function): {text}");
    }
    let line = text.strip_prefix(CHUNK).and_then(|rest| rest.strip_prefix(':')).and_then(|rest| rest.split(':').next());
    format!("ERR {text} script: {hash}, on @{CHUNK}:{}.", line.unwrap_or_default())
}

fn outcome(lua: &Lua, value: Value) -> mlua::Result<Of> {
    Ok(match value {
        Value::Nil => Of::Boolean(false),
        Value::Int(number) => Of::Number(number as f64),
        Value::BulkString(bytes) => Of::String(lua.create_string(bytes)?),
        Value::Okay => outcome(lua, Value::SimpleString("OK".to_owned()))?,
        Value::SimpleString(text) => {
            let table = lua.create_table()?;
            table.set("ok", text)?;
            Of::Table(table)
        }
        Value::Array(items) => {
            let table = lua.create_table()?;
            for (index, item) in items.into_iter().enumerate() {
                table.set(index + 1, outcome(lua, item)?)?;
            }
            Of::Table(table)
        }
        other => return Err(Error::RuntimeError(format!("no script gets {other:?}"))),
    })
}

/// What a script gave, as a reply.
fn reply(value: Of) -> Result<Value, String> {
    let odd = |error: Error| format!("ERR {error}");
    Ok(match value {
        Of::Boolean(true) => Value::Int(1),
        Of::Integer(number) => Value::Int(number),
        Of::Number(number) => Value::Int(number as i64),
        Of::String(text) => Value::BulkString(text.as_bytes().to_vec()),
        Of::Table(table) => {
            if let Ok(Some(error)) = table.get::<Option<String>>("err") {
                return Err(error);
            }
            if let Ok(Some(status)) = table.get::<Option<String>>("ok") {
                return Ok(if status == "OK" { Value::Okay } else { Value::SimpleString(status) });
            }
            let mut items = Vec::new();
            for item in table.sequence_values::<Of>() {
                items.push(reply(item.map_err(odd)?)?);
            }
            Value::Array(items)
        }
        _ => Value::Nil,
    })
}

fn none_runs() -> Result<Value, String> {
    Err("ERR no script runs".to_owned())
}

fn made() -> mlua::Result<Interpreter> {
    let lua = Lua::new_with(StdLib::STRING | StdLib::MATH | StdLib::TABLE, mlua::LuaOptions::default())?;
    let format: Function = lua.globals().get::<Table>("string")?.get("format")?;
    let call = lua.create_function(move |lua, args: MultiValue| {
        let text = |value: Of| match value {
            Of::String(text) => Ok(text.as_bytes().to_vec()),
            Of::Integer(_) | Of::Number(_) => {
                Ok(format.call::<mlua::String>(("%.17g", value)).map(|text| text.as_bytes().to_vec())?)
            }
            _ => Err(Error::external("")),
        };
        let command = args.into_iter().map(text).collect::<mlua::Result<Vec<_>>>();
        let answer = command
            .map_err(|_| "ERR Lua redis lib command arguments must be strings or integers".to_owned())
            .and_then(|command| {
                CALLER.with_borrow_mut(|caller| caller.as_mut().map_or_else(none_runs, |caller| caller(&command)))
            });
        // The caller of this function is the script.
        let line = || lua.inspect_stack(1, |caller| caller.current_line()).flatten().unwrap_or_default();
        outcome(lua, answer.map_err(|text| Error::external(Refused { text, line: line() }))?)
    })?;
    let refuse = lua.create_function(|lua, text: mlua::String| {
        let table = lua.create_table()?;
        // Its first word is the code.
        table.set("err", text)?;
        Ok(table)
    })?;
    let library = lua.create_table()?;
    library.set("call", call)?;
    library.set("error_reply", refuse)?;
    lua.globals().set("redis", library)?;
    Ok(Interpreter { lua, scripts: BTreeMap::new() })
}

impl Interpreter {
    fn function(&mut self, hash: &str, text: &str) -> mlua::Result<Function> {
        if let Some(function) = self.scripts.get(hash) {
            return Ok(function.clone());
        }
        let function = self.lua.load(Text::of(text).body).set_name(format!("@{CHUNK}")).into_function()?;
        self.scripts.insert(hash.to_owned(), function.clone());
        Ok(function)
    }

    fn run(&mut self, hash: &str, text: &str, keys: &[Vec<u8>], args: &[Vec<u8>]) -> mlua::Result<Of> {
        let function = self.function(hash, text)?;
        for (name, values) in [("KEYS", keys), ("ARGV", args)] {
            let table = self.lua.create_table_with_capacity(values.len(), 0)?;
            for (index, value) in values.iter().enumerate() {
                table.raw_set(index + 1, self.lua.create_string(value)?)?;
            }
            self.lua.globals().raw_set(name, table)?;
        }
        function.call(())
    }
}

/// Runs a script; what it calls, `host` does, which is given back.
pub(super) fn run<H: Host + 'static>(
    hash: &str,
    text: &str,
    keys: &[Vec<u8>],
    args: &[Vec<u8>],
    host: H,
) -> (H, Result<Value, String>) {
    let host = std::rc::Rc::new(RefCell::new(host));
    let shared = host.clone();
    CALLER.set(Some(Box::new(move |command| shared.borrow_mut().call(command))));
    let answer = INTERPRETER.with_borrow_mut(|interpreter| {
        if interpreter.is_none() {
            *interpreter = Some(made().map_err(|error| failure(&error, hash))?);
        }
        let Some(interpreter) = interpreter else { return Err("ERR no interpreter".to_owned()) };
        interpreter.run(hash, text, keys, args).map_err(|error| failure(&error, hash)).and_then(reply)
    });
    CALLER.set(None);
    match std::rc::Rc::try_unwrap(host) {
        Ok(host) => (host.into_inner(), answer),
        Err(_) => unreachable!("the caller was dropped"),
    }
}

//! Evaluates pipelines, commands and operands.
//!
//! The order in which sites are noted and arguments are checked is Go's, because it decides which
//! position and which message an error has.

use super::ast::{Command, Operand, Pipe, Site, Term};
use super::builtin::{self, Func, Param};
use super::certificate::Certificate;
use super::constant::{Ideal, Number};
use super::context::SecretValue;
use super::exec::{Exec, Stop, literal};
use super::value::{ByteList, ByteType, Record, Value};
use super::work;

impl<'a> Exec<'a> {
    /// The value of a pipeline, after its variables took it.
    pub(super) fn pipeline(&mut self, dot: &Value<'a>, pipe: &'a Pipe) -> Result<Value<'a>, Stop> {
        self.at(Site::Pipe(pipe));
        let mut piped = None;
        for command in &pipe.commands {
            piped = Some(self.command(dot, command, piped)?);
        }
        let value = piped.unwrap_or(Value::Invalid);
        for name in &pipe.declared {
            if pipe.is_assign {
                self.assign(name, value.clone())?;
            } else {
                self.variables.push((name, value.clone()));
            }
        }
        Ok(value)
    }

    /// A pipeline in parentheses.
    fn nested(&mut self, dot: &Value<'a>, pipe: &'a Pipe) -> Result<Value<'a>, Stop> {
        self.enter()?;
        let value = self.pipeline(dot, pipe);
        self.leave();
        value
    }

    /// `piped` is the value of the command before, its last argument.
    fn command(&mut self, dot: &Value<'a>, command: &'a Command, piped: Option<Value<'a>>) -> Result<Value<'a>, Stop> {
        let first = &command.first;
        let has_arguments = !command.arguments.is_empty() || piped.is_some();
        match &first.term {
            Term::Field(fields) => {
                self.at(Site::Operand(first));
                return self.fields(dot.clone(), fields, has_arguments);
            }
            Term::Chain(operand, fields) => return self.chain(dot, first, operand, fields, has_arguments),
            Term::Variable(name, fields) => return self.variable(first, name, fields, has_arguments),
            Term::Function(function) => {
                self.at(Site::Operand(first));
                return self.call(dot, *function, Site::Command(command), &command.arguments, piped);
            }
            Term::Pipe(_) => {}
            _ => self.at(Site::Operand(first)),
        }
        if has_arguments {
            return self.error(format!("can't give argument to non-function {}", first.text()));
        }
        match &first.term {
            Term::Pipe(pipe) => self.nested(dot, pipe),
            Term::Bool(flag) => Ok(Value::Bool(*flag)),
            Term::Dot => Ok(dot.clone()),
            Term::Number(number) => self.ideal(first, number),
            Term::Text { value, .. } => Ok(literal(value)),
            _ => self.error("nil is not a command"),
        }
    }

    fn ideal(&mut self, operand: &'a Operand, number: &Number) -> Result<Value<'a>, Stop> {
        self.at(Site::Operand(operand));
        match number.ideal() {
            Ideal::Int(int) => Ok(Value::Int(int)),
            Ideal::Float(float) => Ok(Value::Float(float)),
            Ideal::Overflow => self.error(format!("{} overflows int", operand.text())),
        }
    }

    fn variable(
        &mut self,
        operand: &'a Operand,
        name: &str,
        fields: &'a [Box<str>],
        has_arguments: bool,
    ) -> Result<Value<'a>, Stop> {
        self.at(Site::Operand(operand));
        self.spend_on_variables()?;
        let Some(value) = self.variables.iter().rev().find(|(known, _)| *known == name).map(|(_, v)| v.clone()) else {
            return self.error(format!("undefined variable: {name}"));
        };
        if fields.is_empty() && has_arguments {
            return self.error(format!("can't give argument to non-function {}", operand.text()));
        }
        self.fields(value, fields, has_arguments)
    }

    fn chain(
        &mut self,
        dot: &Value<'a>,
        whole: &'a Operand,
        operand: &'a Operand,
        fields: &'a [Box<str>],
        has_arguments: bool,
    ) -> Result<Value<'a>, Stop> {
        self.at(Site::Operand(whole));
        let receiver = self.argument(dot, operand, Param::Any)?;
        self.fields(receiver, fields, has_arguments)
    }

    /// Follows fields from a value. Only the last could be called, and none of ours can.
    fn fields(
        &mut self,
        mut receiver: Value<'a>,
        fields: &'a [Box<str>],
        has_arguments: bool,
    ) -> Result<Value<'a>, Stop> {
        for (index, name) in fields.iter().enumerate() {
            let has_arguments = has_arguments && index + 1 == fields.len();
            if let Value::Certificate(certificate) = &receiver {
                self.spend(work::of_certificate(certificate.der()))?;
            }
            receiver = self.field(&receiver, name, has_arguments)?;
            self.spend(work::of_result(&receiver))?;
        }
        Ok(receiver)
    }

    fn field(&mut self, receiver: &Value<'a>, name: &str, has_arguments: bool) -> Result<Value<'a>, Stop> {
        let found = match receiver {
            // Fields of nothing are nothing.
            Value::Invalid => return Ok(Value::Invalid),
            Value::Secrets(source) => {
                if has_arguments {
                    return self.error(format!("{name} is not a method but has arguments"));
                }
                return Ok(source.secret(name).map_or(Value::Invalid, Value::Secret));
            }
            Value::Record(record) => self.record_field(*record, name),
            Value::Secret(secret) => secret_field(secret, name),
            Value::Certificate(certificate) => certificate.field(name).or_else(|reason| self.error(reason))?,
            Value::Name(attributes) => attributes.field(name).or_else(|reason| self.error(reason))?,
            _ => None,
        };
        match found {
            Some(_) if has_arguments => self.error(format!("{name} has arguments but cannot be invoked as function")),
            Some(value) => Ok(value),
            None => self.error(format!("can't evaluate field {name} in type {}", receiver.type_name())),
        }
    }

    fn record_field(&self, record: Record, name: &str) -> Option<Value<'a>> {
        let context = self.context;
        let reserved = |secret: &SecretValue| Value::Secret(secret.clone());
        Some(match (record, name) {
            (Record::Root, "SecretsWrapper") => Value::Record(Record::Wrapper),
            (Record::Root, "Previous") => Value::Record(Record::Previous),
            (Record::Root | Record::Wrapper, "MarbleRun") => Value::Record(Record::MarbleRun),
            (Record::Root | Record::Wrapper, "Secrets") => Value::Secrets(context.secrets),
            (Record::Previous, "Secrets") => Value::Secrets(context.previous_secrets),
            (Record::MarbleRun, "RootCA") => reserved(&context.reserved.root_ca),
            (Record::MarbleRun, "MarbleCert") => reserved(&context.reserved.marble_cert),
            (Record::MarbleRun, "CoordinatorRoot") => reserved(&context.reserved.coordinator_root),
            (Record::MarbleRun, "CoordinatorIntermediate") => reserved(&context.reserved.coordinator_intermediate),
            _ => return None,
        })
    }

    /// Calls a function. `site` is where its own errors are reported.
    fn call(
        &mut self,
        dot: &Value<'a>,
        function: Func,
        site: Site<'a>,
        operands: &'a [Operand],
        piped: Option<Value<'a>>,
    ) -> Result<Value<'a>, Stop> {
        let name = function.name();
        let (fixed, variadic) = function.parameters();
        let given = operands.len() + usize::from(piped.is_some());
        if variadic && given < fixed.len() {
            let (want, got) = (fixed.len(), operands.len());
            return self.error(format!("wrong number of args for {name}: want at least {want} got {got}"));
        }
        if !variadic && given != fixed.len() {
            return self.error(format!("wrong number of args for {name}: want {} got {given}", fixed.len()));
        }
        if matches!(function, Func::And | Func::Or) {
            return self.short_circuit(dot, function == Func::Or, operands, piped);
        }
        let parameter = |index: usize| fixed.get(index).copied().unwrap_or(Param::Any);
        let mut arguments = Vec::with_capacity(given);
        for (index, operand) in operands.iter().enumerate() {
            arguments.push(self.argument(dot, operand, parameter(index))?);
        }
        if let Some(value) = piped {
            let parameter = parameter(arguments.len());
            arguments.push(self.checked(value, parameter)?);
        }
        let callee = match (function, operands.first()) {
            (Func::Call, Some(operand)) => operand.text(),
            (Func::Call, None) => {
                format!("<{} Value>", arguments.first().map_or("invalid", Value::type_name))
            }
            _ => String::new(),
        };
        self.spend_on_call(function, &arguments)?;
        let result = builtin::call(function, &arguments, &callee, self.left.made);
        match result {
            Ok(value) => {
                if let Value::Text(text) = &value {
                    self.left.made = self.left.made.saturating_sub(text.as_slice().len());
                }
                if function != Func::Slice {
                    self.spend(work::of_result(&value))?;
                }
                Ok(value)
            }
            Err(message) => {
                self.at(site);
                self.error(format!("error calling {name}: {message}"))
            }
        }
    }

    /// Functions look through what they are given, but for those that take a part of it or measure it.
    fn spend_on_call(&mut self, function: Func, arguments: &[Value<'a>]) -> Result<(), Stop> {
        if let (Func::Len | Func::Not, [Value::Secrets(source)]) = (function, arguments) {
            return self.spend(work::of_items(source.names().len()));
        }
        if matches!(function, Func::Index | Func::Slice | Func::Len | Func::Not) {
            return Ok(());
        }
        self.spend(arguments.iter().map(work::of_argument).fold(0, u64::saturating_add))
    }

    /// `and` and `or`: the first argument that decides, or the last.
    fn short_circuit(
        &mut self,
        dot: &Value<'a>,
        or: bool,
        operands: &'a [Operand],
        piped: Option<Value<'a>>,
    ) -> Result<Value<'a>, Stop> {
        let mut last = Value::Invalid;
        for operand in operands {
            last = self.argument(dot, operand, Param::Any)?;
            if self.truth(&last)? == or {
                return Ok(last);
            }
        }
        Ok(piped.unwrap_or(last))
    }

    fn argument(&mut self, dot: &Value<'a>, operand: &'a Operand, parameter: Param) -> Result<Value<'a>, Stop> {
        self.at(Site::Operand(operand));
        let value = match &operand.term {
            Term::Dot => dot.clone(),
            Term::Nil if parameter == Param::Text => return self.error("cannot assign nil to string"),
            Term::Nil => return Ok(Value::Invalid),
            Term::Field(fields) => self.fields(dot.clone(), fields, false)?,
            Term::Variable(name, fields) => self.variable(operand, name, fields, false)?,
            Term::Pipe(pipe) => self.nested(dot, pipe)?,
            Term::Function(function) => self.call(dot, *function, Site::Operand(operand), &[], None)?,
            Term::Chain(inner, fields) => self.chain(dot, operand, inner, fields, false)?,
            Term::Text { value, .. } => return Ok(literal(value)),
            _ if parameter == Param::Text => return self.error(format!("expected string; found {}", operand.text())),
            Term::Bool(flag) => return Ok(Value::Bool(*flag)),
            Term::Number(number) => return self.ideal(operand, number),
        };
        self.checked(value, parameter)
    }

    /// Whether a value fits a parameter.
    fn checked(&self, value: Value<'a>, parameter: Param) -> Result<Value<'a>, Stop> {
        match (parameter, &value) {
            (Param::Any, _) | (Param::Text, Value::Text(_)) => Ok(value),
            (Param::Text, Value::Invalid) => self.error("invalid value; expected string"),
            (Param::Text, other) => {
                self.error(format!("wrong type for value; expected string; got {}", other.type_name()))
            }
        }
    }
}

fn secret_field<'a>(secret: &SecretValue, name: &str) -> Option<Value<'a>> {
    Some(match name {
        "Type" => literal(secret.kind.map_or("", crate::model::SecretKind::as_str).as_bytes()),
        "Size" => Value::Uint(secret.size),
        "Shared" => Value::Bool(secret.shared),
        "UserDefined" => Value::Bool(secret.user_defined),
        "Cert" => Value::Certificate(Certificate::new(secret.cert.clone())),
        "ValidFor" => Value::Uint(secret.valid_for),
        "Private" => Value::Bytes(ByteList::of_secret(ByteType::Private, secret.private.as_ref())),
        "Public" => Value::Bytes(ByteList::of_secret(ByteType::Public, secret.public.as_ref())),
        _ => return None,
    })
}

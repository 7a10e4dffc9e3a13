//! Parses what stands between the delimiters of an action: pipelines, commands, operands.

use super::ParseError;
use super::ast::{Command, Operand, Pipe, Term};
use super::builtin::Func;
use super::constant::Number;
use super::lex::{Item, Keyword, Token};
use super::parse::{MAX_VARIABLES, Parser};
use super::quote;

impl Parser<'_, '_> {
    /// Commands up to `end`.
    pub(super) fn pipeline(&mut self, context: &str, end: Token) -> Result<Pipe, ParseError> {
        let pos = self.peek_non_space().pos;
        let mut pipe = Pipe { pos, is_assign: false, declared: Vec::new(), commands: Vec::new() };
        self.declarations(&mut pipe, context)?;
        loop {
            let item = self.next_non_space();
            if item.token == end {
                self.check(&pipe, context)?;
                return Ok(pipe);
            }
            match item.token {
                Token::Bool
                | Token::CharConstant
                | Token::Complex
                | Token::Field
                | Token::Identifier
                | Token::Number
                | Token::RawString
                | Token::String
                | Token::Variable
                | Token::LeftParen
                | Token::Keyword(Keyword::Dot | Keyword::Nil) => {
                    self.backup();
                    pipe.commands.push(self.command()?);
                }
                _ => return self.unexpected(&item, context),
            }
        }
    }

    /// `$x :=`, `$x =`, and in a range `$i, $x :=`.
    fn declarations(&mut self, pipe: &mut Pipe, context: &str) -> Result<(), ParseError> {
        loop {
            let variable = self.peek_non_space();
            if variable.token != Token::Variable {
                return Ok(());
            }
            self.next();
            // A blank is a token, so three are needed to tell `$x foo` from `$x := foo`.
            let after = self.peek();
            let next = self.peek_non_space();
            let name: Box<str> = String::from_utf8_lossy(&variable.text).into();
            if self.variables.len() > MAX_VARIABLES {
                return self.error("too many variables");
            }
            match next.token {
                Token::Assign | Token::Declare => {
                    pipe.is_assign = next.token == Token::Assign;
                    self.next_non_space();
                    pipe.declared.push(name.clone());
                    self.variables.push(name);
                    return Ok(());
                }
                Token::Char if next.text.as_ref() == b"," => {
                    self.next_non_space();
                    pipe.declared.push(name.clone());
                    self.variables.push(name);
                    if context != "range" || pipe.declared.len() >= 2 {
                        return self.error(format!("too many declarations in {context}"));
                    }
                    match self.peek_non_space().token {
                        Token::Variable | Token::RightDelim | Token::RightParen => {}
                        _ => return self.error("range can only initialize variables"),
                    }
                }
                _ if after.token == Token::Space => {
                    self.backup3(variable, after);
                    return Ok(());
                }
                _ => {
                    self.backup2(variable);
                    return Ok(());
                }
            }
        }
    }

    fn check(&self, pipe: &Pipe, context: &str) -> Result<(), ParseError> {
        if pipe.commands.is_empty() {
            return self.error(format!("missing value for {context}"));
        }
        for (index, command) in pipe.commands.iter().enumerate().skip(1) {
            if matches!(command.first.term, Term::Bool(_) | Term::Dot | Term::Nil | Term::Number(_) | Term::Text { .. })
            {
                return self.error(format!("non executable command in pipeline stage {}", index + 1));
            }
        }
        Ok(())
    }

    /// Operands up to a pipe or the end of the pipeline.
    fn command(&mut self) -> Result<Command, ParseError> {
        let pos = self.peek_non_space().pos;
        let mut operands = Vec::new();
        loop {
            self.peek_non_space();
            operands.extend(self.operand()?);
            let item = self.next();
            match item.token {
                Token::Space => {}
                Token::RightDelim | Token::RightParen => {
                    self.backup();
                    break;
                }
                Token::Pipe => break,
                _ => return self.unexpected(&item, "operand"),
            }
        }
        let mut operands = operands.into_iter();
        match operands.next() {
            Some(first) => Ok(Command { pos, first, arguments: operands.collect() }),
            None => self.error("empty command"),
        }
    }

    /// A term with the fields after it; `None` if the next token starts none.
    fn operand(&mut self) -> Result<Option<Operand>, ParseError> {
        let Some(operand) = self.term()? else { return Ok(None) };
        let next = self.peek();
        if next.token != Token::Field {
            return Ok(Some(operand));
        }
        let mut added = Vec::new();
        while self.peek().token == Token::Field {
            added.push(field_name(&self.next()));
        }
        // Fields after a field or variable belong to it; the place of the whole is that of the first added.
        let term = match operand.term {
            Term::Field(mut fields) => {
                fields.append(&mut added);
                Term::Field(fields)
            }
            Term::Variable(name, mut fields) => {
                fields.append(&mut added);
                Term::Variable(name, fields)
            }
            Term::Bool(_) | Term::Text { .. } | Term::Number(_) | Term::Nil | Term::Dot => {
                let text = quote::to_string(&operand.written());
                return self.error(format!("unexpected . after term {text}"));
            }
            Term::Function(_) | Term::Pipe(_) | Term::Chain(..) => Term::Chain(Box::new(operand), added),
        };
        Ok(Some(Operand { pos: next.pos, term }))
    }

    fn term(&mut self) -> Result<Option<Operand>, ParseError> {
        let item = self.next_non_space();
        let term = match item.token {
            Token::Identifier => match Func::find(&item.text, self.shared.kind) {
                Some(function) => Term::Function(function),
                None => {
                    return self.error(format!("function {} not defined", quote::to_string(&item.text)));
                }
            },
            Token::Keyword(Keyword::Dot) => Term::Dot,
            Token::Keyword(Keyword::Nil) => Term::Nil,
            Token::Variable => {
                let name = String::from_utf8_lossy(&item.text);
                if !self.variables.iter().any(|known| **known == *name) {
                    return self.error(format!("undefined variable {}", quote::to_string(&item.text)));
                }
                Term::Variable(name.into(), Vec::new())
            }
            Token::Field => Term::Field(vec![field_name(&item)]),
            Token::Bool => Term::Bool(item.text.as_ref() == b"true"),
            Token::CharConstant | Token::Complex | Token::Number => match Number::parse(&item.text, item.token) {
                Ok(number) => Term::Number(number),
                Err(message) => return self.error(message),
            },
            Token::LeftParen => {
                self.enter()?;
                let pipe = self.pipeline("parenthesized pipeline", Token::RightParen)?;
                self.leave();
                // A pipeline stands where its first operand does.
                return Ok(Some(Operand { pos: pipe.pos, term: Term::Pipe(Box::new(pipe)) }));
            }
            Token::String | Token::RawString => match quote::unquote(&item.text) {
                Some(value) => Term::Text { quoted: item.text.as_ref().into(), value: value.into() },
                None => return self.error("invalid syntax"),
            },
            _ => {
                self.backup();
                return Ok(None);
            }
        };
        Ok(Some(Operand { pos: item.pos, term }))
    }
}

/// The name of a field token, without its point.
fn field_name(item: &Item<'_>) -> Box<str> {
    let name = item.text.get(1..).unwrap_or_default();
    String::from_utf8_lossy(name).into()
}

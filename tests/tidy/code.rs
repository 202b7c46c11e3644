//! Reading Rust: enough of a lexer for paths, items and braces, without strings and comments.

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) line: usize,
}

impl Token {
    fn is_ident(&self) -> bool {
        self.text.starts_with(|c: char| c.is_alphabetic() || c == '_')
    }
}

pub(crate) fn lex(source: &str) -> Vec<Token> {
    let chars: Vec<char> = source.chars().collect();
    let (mut tokens, mut at, mut line) = (Vec::new(), 0, 1);
    while at < chars.len() {
        let end = match chars[at] {
            '/' if chars.get(at + 1) == Some(&'/') => {
                at + chars[at..].iter().position(|c| *c == '\n').unwrap_or(chars.len() - at)
            }
            '/' if chars.get(at + 1) == Some(&'*') => block_comment_end(&chars, at),
            '"' => string_end(&chars, at),
            '\'' => quote_end(&chars, at),
            c if c.is_alphanumeric() || c == '_' => word(&chars, at, line, &mut tokens),
            ':' if chars.get(at + 1) == Some(&':') => {
                tokens.push(Token { text: "::".into(), line });
                at + 2
            }
            c => {
                if !c.is_whitespace() {
                    tokens.push(Token { text: c.into(), line });
                }
                at + 1
            }
        };
        let end = end.min(chars.len());
        line += chars[at..end].iter().filter(|c| **c == '\n').count();
        at = end;
    }
    tokens
}

/// Takes a word, unless it is the prefix of a string: `r"`, `b"`, `br#"`, `b'`.
fn word(chars: &[char], at: usize, line: usize, tokens: &mut Vec<Token>) -> usize {
    let is_word = |c: &char| c.is_alphanumeric() || *c == '_';
    let end = at + chars[at..].iter().position(|c| !is_word(c)).unwrap_or(chars.len() - at);
    let text: String = chars[at..end].iter().collect();
    let hashes = chars[end..].iter().take_while(|c| **c == '#').count();
    let opens = chars.get(end + hashes) == Some(&'"');
    match text.as_str() {
        "r" | "br" | "cr" if opens => raw_string_end(chars, end + hashes, hashes),
        "b" | "c" if opens && hashes == 0 => string_end(chars, end),
        "b" if chars.get(end) == Some(&'\'') => quote_end(chars, end),
        _ => {
            tokens.push(Token { text, line });
            end
        }
    }
}

fn block_comment_end(chars: &[char], at: usize) -> usize {
    let (mut depth, mut at) = (1, at + 2);
    while depth > 0 && at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    at
}

fn string_end(chars: &[char], at: usize) -> usize {
    let mut at = at + 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

fn raw_string_end(chars: &[char], quote: usize, hashes: usize) -> usize {
    let mut at = quote + 1;
    while at < chars.len() {
        let closes = chars[at] == '"'
            && chars[at + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes;
        if closes {
            return at + 1 + hashes;
        }
        at += 1;
    }
    at
}

/// The end of a character literal; a lifetime ends after its quote.
fn quote_end(chars: &[char], at: usize) -> usize {
    match (chars.get(at + 1), chars.get(at + 2)) {
        (Some('\\'), _) => {
            let rest = chars.get(at + 3..).unwrap_or_default();
            at + 4 + rest.iter().position(|c| *c == '\'').unwrap_or(rest.len())
        }
        (Some(_), Some('\'')) => at + 3,
        _ => at + 1,
    }
}

/// A path as it stands in the code, with its braces multiplied out: `use a::{b, c::d}` is two.
#[derive(Debug, PartialEq)]
pub(crate) struct CodePath {
    pub(crate) segments: Vec<String>,
    pub(crate) line: usize,
    /// The position of its first token.
    pub(crate) token: usize,
}

pub(crate) fn paths(tokens: &[Token]) -> Vec<CodePath> {
    let (mut found, mut at) = (Vec::new(), 0);
    while at < tokens.len() {
        let inner = at > 0 && matches!(tokens[at - 1].text.as_str(), "::" | ".");
        at = if tokens[at].is_ident() && !inner {
            path_tree(tokens, at, at, &[], &mut found)
        } else {
            at + 1
        };
    }
    found
}

/// Follows one path from `at` to where it ends; returns the position after it.
fn path_tree(
    tokens: &[Token],
    start: usize,
    at: usize,
    prefix: &[String],
    found: &mut Vec<CodePath>,
) -> usize {
    let Token { text, line } = &tokens[at];
    let mut segments = prefix.to_vec();
    if text == "{" {
        let mut at = at + 1;
        while at < tokens.len() && tokens[at].text != "}" {
            let entry = tokens[at].is_ident() || matches!(tokens[at].text.as_str(), "{" | "*");
            at = if entry { path_tree(tokens, start, at, prefix, found) } else { at + 1 };
        }
        return at + 1;
    }
    segments.push(text.clone());
    let goes_on = tokens.get(at + 1).is_some_and(|token| token.text == "::")
        && tokens
            .get(at + 2)
            .is_some_and(|token| token.is_ident() || matches!(token.text.as_str(), "{" | "*"));
    if goes_on {
        return path_tree(tokens, start, at + 2, &segments, found);
    }
    found.push(CodePath { segments, line: *line, token: start });
    let renamed = !prefix.is_empty() && tokens.get(at + 1).is_some_and(|token| token.text == "as");
    if renamed { at + 3 } else { at + 1 }
}

/// Position of the bracket that closes the one at `open`.
pub(crate) fn closing(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.text.as_str() {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    tokens.len()
}

/// For each token, how many `mod name { .. }` of the same file stand around it.
pub(crate) fn inline_depths(tokens: &[Token]) -> Vec<usize> {
    let mut depths = vec![0; tokens.len()];
    for at in 0..tokens.len().saturating_sub(2) {
        if tokens[at].text == "mod" && tokens[at + 2].text == "{" {
            let end = closing(tokens, at + 2).min(tokens.len());
            depths[at + 2..end].iter_mut().for_each(|depth| *depth += 1);
        }
    }
    depths
}

/// The code without its `#[cfg(test)]` modules.
pub(crate) fn without_tests(tokens: &[Token]) -> Vec<Token> {
    let (mut kept, mut at) = (Vec::new(), 0);
    while at < tokens.len() {
        let texts: Vec<&str> = tokens[at..].iter().take(10).map(|t| t.text.as_str()).collect();
        if let ["#", "[", "cfg", "(", "test", ")", "]", "mod", _, "{", ..] = texts.as_slice() {
            at = closing(tokens, at + 9) + 1;
        } else {
            kept.push(tokens[at].clone());
            at += 1;
        }
    }
    kept
}

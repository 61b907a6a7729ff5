//! The CSV file: contacts, and rows that are none.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

use csv::{ByteRecord, ReaderBuilder};
use serde_json::{Map, Value, json};

/// A file that has been read.
pub(crate) struct Sheet {
    columns: Vec<String>,
    /// Which of the columns holds the address.
    email: usize,
    pub(crate) rows: Vec<Row>,
}

/// One row of the file.
pub(crate) struct Row {
    /// The line on which it begins, counted as an editor does.
    pub(crate) line: u64,
    /// Its fields, or what is wrong with it.
    fields: Result<Vec<String>, String>,
}

/// One record to sync.
#[derive(Clone, Debug)]
pub(crate) struct Contact {
    pub(crate) email: String,
    /// The properties, as HubSpot wants them.
    pub(crate) properties: Value,
}

/// HubSpot and the mail system take no longer one.
const LONGEST_EMAIL: usize = 254;

/// A row of so many lines has probably swallowed others.
const SUSPICIOUS_LINES: u64 = 5;

impl Sheet {
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let shown = path.display();
        let data = std::fs::read(path).map_err(|error| format!("cannot read {shown}: {error}"))?;
        Self::parse(&data).map_err(|problem| format!("{shown}: {problem}"))
    }

    fn parse(data: &[u8]) -> Result<Self, String> {
        if data.iter().all(u8::is_ascii_whitespace) {
            return Err("the file is empty".to_owned());
        }
        let mut reader = ReaderBuilder::new().flexible(true).from_reader(data);
        let header = reader
            .byte_headers()
            .map_err(|error| error.to_string())?
            .clone();
        let columns = columns(&header)?;
        let Some(email) = columns.iter().position(|column| column == "email") else {
            return Err(format!(
                "no column is called `email`; the first line names {}",
                columns.join(", ")
            ));
        };
        let mut sheet = Self {
            columns,
            email,
            rows: Vec::new(),
        };
        let mut seen = HashMap::new();
        let mut record = ByteRecord::new();
        while reader
            .read_byte_record(&mut record)
            .map_err(|error| error.to_string())?
        {
            let (line, byte) = record
                .position()
                .map_or((0, 0), |position| (position.line(), position.byte()));
            // The reader counts blank lines to the row that follows them.
            let blank = data[byte as usize..]
                .iter()
                .take_while(|byte| byte.is_ascii_whitespace() && **byte != b' ' && **byte != b'\t')
                .filter(|&&byte| byte == b'\n')
                .count() as u64;
            let line = line + blank;
            let lines = (reader.position().line() - line).max(1);
            let fields = sheet.fields(&record, lines).and_then(|fields| {
                let key = fields[email].to_lowercase();
                match seen.get(&key) {
                    Some(first) => Err(format!(
                        "the address {} is on line {first} already",
                        fields[email]
                    )),
                    None => {
                        seen.insert(key, line);
                        Ok(fields)
                    }
                }
            });
            sheet.rows.push(Row { line, fields });
        }
        if sheet.rows.is_empty() {
            return Err("there is nothing below the first line".to_owned());
        }
        Ok(sheet)
    }

    /// The trimmed fields of a row, if it is one that can be sent.
    fn fields(&self, record: &ByteRecord, lines: u64) -> Result<Vec<String>, String> {
        let mut fields = Vec::with_capacity(record.len());
        for (position, field) in record.iter().enumerate() {
            let Ok(field) = std::str::from_utf8(field) else {
                let column = self.columns.get(position).map_or("?", String::as_str);
                return Err(format!("the column `{column}` is not valid UTF-8"));
            };
            fields.push(field.trim().to_owned());
        }
        if fields.len() != self.columns.len() {
            let hint = if lines >= SUSPICIOUS_LINES {
                format!("; it is {lines} lines long: is a quote left open?")
            } else {
                String::new()
            };
            let (has, wanted) = (fields.len(), self.columns.len());
            let columns = if has == 1 { "column" } else { "columns" };
            return Err(format!("has {has} {columns} instead of {wanted}{hint}"));
        }
        let email = &fields[self.email];
        // What else makes an address wrong is for the server to say.
        match email.split_once('@') {
            _ if email.is_empty() => Err("has no e-mail address".to_owned()),
            _ if email.len() > LONGEST_EMAIL => Err("the e-mail address is too long".to_owned()),
            Some((local, domain)) if !local.is_empty() && !domain.is_empty() => Ok(fields),
            _ => Err(format!("{email:?} is no e-mail address")),
        }
    }

    /// The properties that the file names.
    pub(crate) fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The `index`th record, from 0: its line, and the contact or what is wrong with the row.
    ///
    /// Beyond the end of the file the rows come again, with other addresses.
    pub(crate) fn record(&self, index: u64) -> (u64, Result<Contact, &str>) {
        let row = &self.rows[(index % self.rows.len() as u64) as usize];
        let pass = index / self.rows.len() as u64 + 1;
        let contact = match &row.fields {
            Ok(fields) => Ok(self.contact(fields, pass)),
            Err(problem) => Err(problem.as_str()),
        };
        (row.line, contact)
    }

    /// Whether the `index`th record is of the first time through the file.
    pub(crate) fn is_first_pass(&self, index: u64) -> bool {
        index < self.rows.len() as u64
    }

    fn contact(&self, fields: &[String], pass: u64) -> Contact {
        let email = match fields[self.email].rsplit_once('@') {
            Some((local, domain)) if pass > 1 => format!("{local}+{pass}@{domain}"),
            _ => fields[self.email].clone(),
        };
        // An empty field leaves alone what HubSpot has.
        let mut properties: Map<String, Value> = self
            .columns
            .iter()
            .zip(fields)
            .filter(|(_, field)| !field.is_empty())
            .map(|(column, field)| (column.clone(), json!(field)))
            .collect();
        properties.insert("email".to_owned(), json!(email));
        Contact {
            email,
            properties: properties.into(),
        }
    }
}

fn columns(header: &ByteRecord) -> Result<Vec<String>, String> {
    let mut columns: Vec<String> = Vec::new();
    for name in header {
        let name = String::from_utf8_lossy(name).trim().to_ascii_lowercase();
        if name.is_empty() {
            return Err(format!("column {} has no name", columns.len() + 1));
        }
        if columns.contains(&name) {
            return Err(format!("two columns are called `{name}`"));
        }
        columns.push(name);
    }
    Ok(columns)
}

/// A text as one segment of a path.
pub(crate) fn path_segment(text: &str) -> Cow<'_, str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    if text.bytes().all(plain) {
        return text.into();
    }
    let mut encoded = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        if plain(byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(data: &[u8]) -> Vec<(u64, String)> {
        let sheet = Sheet::parse(data).expect("a sheet");
        let broken = |row: &Row| Some((row.line, row.fields.as_ref().err()?.clone()));
        sheet.rows.iter().filter_map(broken).collect()
    }

    #[test]
    fn lines_are_those_of_the_file() {
        let data = b"\xef\xbb\xbfemail,company\r\n\r\na@b.org,\"two\r\nlines\"\r\n,nobody\r\n\r\n\r\nb@b.org\r\nA@B.org,x\r\nc@b.org,\xe9\r\n";
        let found = problems(data);
        let lines: Vec<u64> = found.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [5, 8, 9, 10]);
        assert!(found[1].1.contains("1 column instead of 2"), "{found:?}");
        assert!(found[2].1.contains("line 3"), "{found:?}");
        assert!(found[3].1.contains("UTF-8"), "{found:?}");
    }

    #[test]
    fn an_open_quote_is_named() {
        let found = problems(b"email,company\na@b.org,\"open\nb@b.org,x\n,\n,\n,\n,\n,\n\"c,d\n");
        assert!(found[0].1.contains("quote"), "{found:?}");
    }

    #[test]
    fn files_that_are_none() {
        for (data, expected) in [
            (&b""[..], "empty"),
            (b" \n\n", "empty"),
            (b"email,firstname\n", "nothing below"),
            (b"mail,firstname\na@b.org,A\n", "`email`"),
            (b"email,email\na@b.org,A\n", "two columns"),
            (b"email,\na@b.org,A\n", "no name"),
        ] {
            let problem = Sheet::parse(data).err().expect("a problem");
            assert!(problem.contains(expected), "{problem}");
        }
    }

    #[test]
    fn the_file_goes_round_with_other_addresses() {
        let sheet = Sheet::parse(b"email,city\na@b.org,X\nbroken,Y\n").expect("a sheet");
        let email = |index| sheet.record(index).1.map(|contact| contact.email).ok();
        assert_eq!(email(0).as_deref(), Some("a@b.org"));
        assert_eq!(email(1), None);
        assert_eq!(email(2).as_deref(), Some("a+2@b.org"));
        assert_eq!(email(4).as_deref(), Some("a+3@b.org"));
    }

    #[test]
    fn addresses_fit_into_a_path() {
        assert_eq!(path_segment("a.b-c_d~1"), "a.b-c_d~1");
        assert_eq!(path_segment("o'x+y/ü@b.org"), "o%27x%2By%2F%C3%BC%40b.org");
    }
}

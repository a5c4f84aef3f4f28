//! Static libraries in the format of System V `ar`, with the symbol index that linkers want.

/// A member: file name, contents, and the symbols that it defines.
pub type Member<'a> = (&'a str, &'a [u8], &'a [&'a str]);

const MAGIC: &[u8] = b"!<arch>\n";
const HEADER: usize = 60;

/// Writes an archive. The bytes depend on the members only: dates, owners and modes are fixed.
pub fn write(members: &[Member]) -> Vec<u8> {
    let symbols: Vec<(usize, &str)> =
        members.iter().enumerate().flat_map(|(i, m)| m.2.iter().map(move |s| (i, *s))).collect();
    let index_bytes = 4 + 4 * symbols.len() + symbols.iter().map(|s| s.1.len() + 1).sum::<usize>();
    // Names of any length live in one table; a member refers to its name by offset.
    let mut names = Vec::new();
    let name_at: Vec<usize> = members
        .iter()
        .map(|m| {
            let at = names.len();
            names.extend_from_slice(m.0.as_bytes());
            names.extend_from_slice(b"/\n");
            at
        })
        .collect();
    let mut at = MAGIC.len() + HEADER + even(index_bytes) + HEADER + even(names.len());
    let offsets: Vec<usize> = members
        .iter()
        .map(|m| {
            let start = at;
            at += HEADER + even(m.1.len());
            start
        })
        .collect();

    let mut index = (symbols.len() as u32).to_be_bytes().to_vec();
    for (member, _) in &symbols {
        index.extend((offsets[*member] as u32).to_be_bytes());
    }
    for (_, symbol) in &symbols {
        index.extend_from_slice(symbol.as_bytes());
        index.push(0);
    }
    // Readers disagree about padding behind the two tables, not about padding in them.
    index.resize(even(index.len()), 0);
    names.resize(even(names.len()), b'\n');

    let mut out = MAGIC.to_vec();
    append(&mut out, "/", &index);
    append(&mut out, "//", &names);
    for (member, at) in members.iter().zip(name_at) {
        append(&mut out, &format!("/{at}"), member.1);
    }
    out
}

fn append(out: &mut Vec<u8>, name: &str, contents: &[u8]) {
    out.extend(format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 644, contents.len()).bytes());
    out.extend_from_slice(contents);
    if !contents.len().is_multiple_of(2) {
        out.push(b'\n');
    }
}

fn even(n: usize) -> usize {
    n.next_multiple_of(2)
}

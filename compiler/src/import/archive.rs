//! Zip archives from outside: members by name, with bounds on what they become in memory.

use std::io::{Cursor, Read};

use zip::ZipArchive;

/// Bytes of the largest configuration.
pub const MAX_CONFIG: u64 = 64 << 20;
/// Bytes of the largest file of weights.
pub const MAX_WEIGHTS: u64 = 8 << 30;
/// How many times as large as in the archive a member may be. Keras does not compress, and weights hardly shrink.
pub const MAX_EXPANSION: u64 = 100;
/// Bytes that a member may have however small it is in the archive.
const FLOOR: u64 = 1 << 20;
/// Members of an archive. Keras writes three, and assets.
const MAX_MEMBERS: usize = 4096;

/// An open archive.
pub(super) struct Archive<'b> {
    zip: ZipArchive<Cursor<&'b [u8]>>,
}

impl Archive<'_> {
    pub fn open(bytes: &[u8]) -> Result<Archive<'_>, String> {
        let zip = ZipArchive::new(Cursor::new(bytes)).map_err(|e| format!("this is no readable zip archive: {e}"))?;
        if zip.len() > MAX_MEMBERS {
            return Err(format!("the archive has {} members, more than {MAX_MEMBERS}", zip.len()));
        }
        if zip.has_duplicate_names() {
            return Err("two members of the archive have one name".to_string());
        }
        for name in zip.file_names_raw() {
            let text = String::from_utf8_lossy(name);
            let climbs = text.split(['/', '\\']).any(|part| part == "..");
            if climbs || text.starts_with(['/', '\\']) || text.contains('\0') {
                return Err(format!("the archive has a member `{}`, which is outside of it", text.escape_debug()));
            }
        }
        Ok(Archive { zip })
    }

    /// The bytes of a member, if there is one of that name.
    pub fn member(&mut self, name: &str, most: u64) -> Result<Option<Vec<u8>>, String> {
        let Some(index) = self.zip.index_for_name(name) else { return Ok(None) };
        let wrong = |e: &dyn std::fmt::Display| format!("the member `{name}` cannot be read: {e}");
        let member = self.zip.by_index(index).map_err(|e| wrong(&e))?;
        let most = most.min(member.compressed_size().saturating_mul(MAX_EXPANSION).max(FLOOR));
        let mut bytes = Vec::new();
        // What the archive says of the size is not believed.
        member.take(most + 1).read_to_end(&mut bytes).map_err(|e| wrong(&e))?;
        if bytes.len() as u64 > most {
            return Err(format!("the member `{name}` has more than {most} bytes, which is too many"));
        }
        Ok(Some(bytes))
    }
}

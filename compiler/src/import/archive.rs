//! What a `.keras` file is made of, from outside: members of a zip archive, or files of a folder that was one. Each has
//! bounds on what it becomes in memory.

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};

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
pub(super) enum Archive<'b> {
    Zip(ZipArchive<Cursor<&'b [u8]>>),
    Folder(PathBuf),
}

/// Whether a name leads out of the archive.
fn climbs(name: &str) -> bool {
    name.split(['/', '\\']).any(|part| part == "..") || name.starts_with(['/', '\\']) || name.contains('\0')
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
            if climbs(&text) {
                return Err(format!("the archive has a member `{}`, which is outside of it", text.escape_debug()));
            }
        }
        Ok(Archive::Zip(zip))
    }

    /// The files of a folder.
    pub fn folder(path: &Path) -> Archive<'static> {
        Archive::Folder(path.to_path_buf())
    }

    /// The bytes of a member, if there is one of that name.
    pub fn member(&mut self, name: &str, most: u64) -> Result<Option<Vec<u8>>, String> {
        let wrong = |e: &dyn std::fmt::Display| format!("the member `{}` cannot be read: {e}", name.escape_debug());
        let (member, most): (Box<dyn Read + '_>, u64) = match self {
            Archive::Zip(zip) => {
                let Some(index) = zip.index_for_name(name) else { return Ok(None) };
                let member = zip.by_index(index).map_err(|e| wrong(&e))?;
                let most = most.min(member.compressed_size().saturating_mul(MAX_EXPANSION).max(FLOOR));
                (Box::new(member), most)
            }
            Archive::Folder(folder) => {
                if climbs(name) {
                    return Err(wrong(&"it is outside of the folder"));
                }
                let path = folder.join(name);
                match path.metadata() {
                    Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
                    Err(e) => return Err(wrong(&e)),
                    Ok(found) if !found.is_file() => return Err(wrong(&"it is no file")),
                    Ok(_) => (Box::new(File::open(path).map_err(|e| wrong(&e))?), most),
                }
            }
        };
        let mut bytes = Vec::new();
        // What the archive says of the size is not believed.
        member.take(most + 1).read_to_end(&mut bytes).map_err(|e| wrong(&e))?;
        if bytes.len() as u64 > most {
            return Err(format!("the member `{name}` has more than {most} bytes, which is too many"));
        }
        Ok(Some(bytes))
    }
}

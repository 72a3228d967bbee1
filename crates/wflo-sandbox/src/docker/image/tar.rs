//! Just enough of the tar format (POSIX ustar) to hand a root to the daemon.

/// Writes an archive in memory.
#[derive(Debug, Default)]
pub(super) struct Archive {
    bytes: Vec<u8>,
}

impl Archive {
    pub(super) fn folder(&mut self, path: &str, mode: u32) {
        self.header(path, mode, 0, b'5', "");
    }

    pub(super) fn link(&mut self, path: &str, target: &str) {
        self.header(path, 0o777, 0, b'2', target);
    }

    pub(super) fn file(&mut self, path: &str, content: &[u8]) {
        self.header(path, 0o644, content.len(), b'0', "");
        self.bytes.extend_from_slice(content);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.bytes.resize(self.bytes.len() + 1_024, 0);
        self.bytes
    }

    /// Owner, group and time are 0, so that the same content is the same archive.
    fn header(&mut self, path: &str, mode: u32, size: usize, kind: u8, target: &str) {
        let mut head = [0_u8; 512];
        let mut put = |at: usize, bytes: &[u8]| {
            head.iter_mut().skip(at).zip(bytes).for_each(|(slot, byte)| *slot = *byte);
        };
        put(0, path.as_bytes());
        put(100, format!("{mode:07o}\0").as_bytes());
        put(108, b"0000000\x000000000\0");
        put(124, format!("{size:011o}\0").as_bytes());
        put(136, b"00000000000\0");
        put(148, b"        ");
        put(156, &[kind]);
        put(157, target.as_bytes());
        put(257, b"ustar\x0000");
        let sum: u32 = head.iter().map(|byte| u32::from(*byte)).sum();
        let sum = format!("{sum:06o}\0 ");
        head.iter_mut().skip(148).zip(sum.as_bytes()).for_each(|(slot, byte)| *slot = *byte);
        self.bytes.extend_from_slice(&head);
    }
}

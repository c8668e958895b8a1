//! Over which slots of an engine rooms are spread: partitions, the same on all nodes.
//!
//! Deliberately absent: how keys are named (`redis::keys`).

/// The partition of a topic, below `partitions`, which is not 0.
#[must_use]
pub fn partition(topic: &str, partitions: u16) -> u16 {
    crc16(topic.as_bytes()) % partitions
}

/// CRC-16/XMODEM, by which clusters find a key's slot.
pub(super) fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| {
            let next = crc << 1;
            if crc & 0x8000 == 0 { next } else { next ^ 0x1021 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_those_of_the_specification() {
        // https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/, appendix A.
        assert_eq!(crc16(b"123456789"), 0x31C3);
        assert_eq!(partition("123456789", 1024), 0x31C3 % 1024);
        assert_eq!(partition("", 1), 0);
    }
}

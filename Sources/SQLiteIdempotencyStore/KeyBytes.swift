// The bytes under which the database finds commands and conversations.

import RoutingContract

/// A key as one BLOB, comparable byte by byte.
struct KeyBytes {
    let bytes: [UInt8]

    /// The org's 15 characters, `r` or `d`, the RequestId's 16 bytes.
    init(_ key: CommandKey) {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(32)
        bytes.append(contentsOf: key.org.description.utf8)
        switch key.kind {
        case .route: bytes.append(UInt8(ascii: "r"))
        case .delete: bytes.append(UInt8(ascii: "d"))
        }
        for index in 0..<16 { bytes.append(key.request.bytes[index]) }
        self.bytes = bytes
    }

    /// The org's 15 characters, then the conversation in UTF-8.
    init(_ key: ConversationKey) {
        bytes = Array(key.org.description.utf8) + Array(key.conversation.utf8)
    }
}

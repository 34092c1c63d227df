// A text that is nearly always a UUID, in 16 bytes and without an allocation: a full ledger holds millions of them.

import RoutingContract

enum CompactText: Hashable, Sendable, CustomStringConvertible {
    case uuid(RequestID)
    case text(String)

    /// Keeps `text` so that `description` gives it back as it was.
    init(_ text: String) {
        if let id = RequestID(text), id.description == text {
            self = .uuid(id)
        } else {
            self = .text(text)
        }
    }

    /// For look-ups by RequestId, where the letter case of a UUID does not count.
    init(ignoringCase text: String) {
        self = RequestID(text).map { .uuid($0) } ?? .text(text)
    }

    var ignoringCase: CompactText {
        switch self {
        case .uuid: self
        case .text(let text): CompactText(ignoringCase: text)
        }
    }

    var description: String {
        switch self {
        case .uuid(let id): id.description
        case .text(let text): text
        }
    }
}

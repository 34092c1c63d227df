// The story of a command, for whoever asks later: what was noted of it, in order, within a bound.

public import RoutingContract

/// One thing that happened to a command.
public struct HistoryEntry: Sendable, Hashable {
    /// By the store's clock; of a call, by the clock of the worker that made it.
    public var at: Timestamp
    public var event: Event

    public enum Event: Sendable, Hashable {
        case claimed(ClaimNote)
        case called(CallNote)
        /// The claim was given back; with `true` because no call was made and the RequestId was to stay free.
        case released(unbound: Bool)
        /// A result was recorded, under this replay count.
        case ended(Outcome, replay: Int)
        /// It was delivered again after its end, or with another meaning.
        case seenAgain(SeenAgain)
        /// What it held of a person was removed.
        case forgotten
        /// Something that a newer version noted.
        case other(UInt8)
    }

    public init(at: Timestamp, event: Event) {
        self.at = at
        self.event = event
    }
}

/// A claim, and the delivery that it was made for.
public struct ClaimNote: Sendable, Hashable {
    public enum Kind: UInt8, Sendable, Hashable, CaseIterable {
        case acquired = 1
        /// Somebody's lease had run out: their call may have started.
        case interrupted = 2
        /// A later delete had made it pointless.
        case superseded = 3
        /// The answer to the same wish had not arrived.
        case askedAgain = 4
        /// A replay opened a command that had ended.
        case reopened = 5
    }

    public var kind: Kind
    public var worker: String
    public var delivery: DeliveryNote
    public var replay: Int

    public init(kind: Kind, worker: String, delivery: DeliveryNote = DeliveryNote(), replay: Int = 0) {
        self.kind = kind
        self.worker = worker
        self.delivery = delivery
        self.replay = replay
    }
}

/// What a worker knows of a delivery.
public struct DeliveryNote: Sendable, Hashable {
    /// By the worker's clock.
    public var receivedAt: Timestamp?
    /// How often the broker says that it delivered the message before.
    public var earlierDeliveries: Int

    public init(receivedAt: Timestamp? = nil, earlierDeliveries: Int = 0) {
        self.receivedAt = receivedAt
        self.earlierDeliveries = earlierDeliveries
    }
}

/// A call to Salesforce: when, how long, and what came back. Never a body.
public struct CallNote: Sendable, Hashable {
    public enum End: Sendable, Hashable {
        case answered(status: Int)
        /// For certain no complete request reached Salesforce.
        case notSent
        /// Sent, in whole or in part, and no complete answer came.
        case unanswered
    }

    /// By the worker's clock.
    public var startedAt: Timestamp
    /// Whole milliseconds count.
    public var duration: Duration
    /// The delete that goes before a route that is made again.
    public var isClearing: Bool
    public var end: End
    /// Salesforce's code.
    public var code: Int?
    /// See ``CommandError/reason``; empty for a success. What is longer than 64 bytes is cut.
    public var reason: String
    /// See `CallResult.refusedRequests`: requests before this one that were refused for their token.
    public var refusedRequests: Int

    public init(
        startedAt: Timestamp, duration: Duration, isClearing: Bool = false, end: End, code: Int? = nil,
        reason: String = "", refusedRequests: Int = 0
    ) {
        self.startedAt = startedAt
        self.duration = .milliseconds(duration.wholeMilliseconds)
        self.isClearing = isClearing
        self.end = end
        self.code = code
        self.reason = String(decoding: reason.utf8.prefix(64), as: UTF8.self)
        self.refusedRequests = refusedRequests
    }
}

/// Deliveries of one kind that came one after another, told as one.
public struct SeenAgain: Sendable, Hashable {
    public enum Kind: UInt8, Sendable, Hashable, CaseIterable {
        /// Answered with what is recorded.
        case duplicate = 1
        /// The RequestId came with another meaning.
        case conflict = 2
    }

    public var kind: Kind
    public var count: Int
    /// When the last of them came; the entry's own time is that of the first.
    public var lastAt: Timestamp
    /// Of the last of them.
    public var worker: String
    /// The last of them.
    public var delivery: DeliveryNote

    public init(kind: Kind, count: Int = 1, lastAt: Timestamp, worker: String, delivery: DeliveryNote = DeliveryNote())
    {
        self.kind = kind
        self.count = count
        self.lastAt = lastAt
        self.worker = worker
        self.delivery = delivery
    }
}

/// The bounded list of what was noted of a command: the first ``keptFirst`` entries, the last ``keptLast``, and how many
/// between them were dropped. Also whose conversation it belongs to, as a digest.
///
/// Kept as the bytes that databases hold, and appended to without being read, since that happens with every claim and
/// record; people read it seldom. It is never needed for a decision: what cannot be read is left as it is.
public struct CommandHistory: Sendable, Hashable {
    public static let keptFirst = 4
    public static let keptLast = 28

    /// What a database keeps; empty when nothing was noted. Format 1: the byte 1; flags; the number of entries; four bytes
    /// with how many were dropped; the conversation's tag where the flag says so; the entries (see ``HistoryCodec``), each
    /// with its length before it. Readers skip what stands behind what they know of an entry, and flags that they do not
    /// know, so that later versions can add to both.
    public private(set) var bytes: [UInt8]

    private static let format: UInt8 = 1
    private static let headerSize = 7
    private static let hasConversation: UInt8 = 1

    public init() { bytes = [] }

    /// Takes what a database held, readable or not.
    public init(bytes: [UInt8]) { self.bytes = bytes }

    /// `nil` where they cannot be read: damaged, or of a later format.
    public var entries: [HistoryEntry]? {
        if bytes.isEmpty { return [] }
        guard let encoded = encodedEntries else { return nil }
        var entries: [HistoryEntry] = []
        for bytes in encoded {
            guard let entry = HistoryCodec.decode(bytes) else { return nil }
            entries.append(entry)
        }
        return entries
    }

    /// How many entries are missing after the first ``keptFirst``.
    public var dropped: Int {
        isReadable ? bytes[3..<Self.headerSize].reduce(0) { $0 << 8 | Int($1) } : 0
    }

    /// The command's conversation; `nil` where it was not noted or is forgotten.
    public var conversation: ConversationTag? {
        guard hasTag else { return nil }
        return ConversationTag(bytes: Array(bytes[Self.headerSize..<Self.headerSize + ConversationTag.size]))
    }

    /// Whether the command is known to be of this conversation.
    public func isOf(_ tag: ConversationTag) -> Bool {
        hasTag && bytes[Self.headerSize..<Self.headerSize + ConversationTag.size].elementsEqual(tag.bytes)
    }

    // MARK: Noting

    mutating func note(_ event: HistoryEntry.Event, at time: Timestamp) {
        guard begin() else { return }
        append(HistoryCodec.encode(HistoryEntry(at: time, event: event)))
    }

    /// A call that is told twice, since nobody could know whether it had been told, is noted once.
    mutating func note(_ calls: [CallNote]) {
        guard !calls.isEmpty, begin() else { return }
        for call in calls {
            let entry = HistoryCodec.encode(HistoryEntry(at: call.startedAt, event: .called(call)))
            if !holds(entry) { append(entry) }
        }
    }

    /// What follows another of its kind is counted there.
    mutating func note(_ again: SeenAgain) {
        guard begin() else { return }
        guard let encoded = encodedEntries, let last = encoded.last, var entry = HistoryCodec.decode(last),
            case .seenAgain(let earlier) = entry.event, earlier.kind == again.kind
        else { return note(.seenAgain(again), at: again.lastAt) }
        var both = again
        // Read from a database, where anything may stand.
        let (sum, isTooLarge) = earlier.count.addingReportingOverflow(again.count)
        both.count = isTooLarge ? .max : sum
        entry.event = .seenAgain(both)
        write(encoded.dropLast().map(Array.init) + [HistoryCodec.encode(entry)], dropped: dropped)
    }

    /// Notes the conversation unless it is known.
    mutating func belong(to conversation: @autoclosure () -> ConversationTag) {
        guard begin(), !hasTag else { return }
        bytes[1] |= Self.hasConversation
        bytes.insert(contentsOf: conversation().bytes, at: Self.headerSize)
    }

    mutating func forgetConversation() {
        guard hasTag else { return }
        bytes[1] &= ~Self.hasConversation
        bytes.removeSubrange(Self.headerSize..<Self.headerSize + ConversationTag.size)
    }

    // MARK: Bytes

    private var isReadable: Bool { bytes.count >= Self.headerSize && bytes[0] == Self.format }

    private var hasTag: Bool {
        isReadable && bytes[1] & Self.hasConversation != 0 && bytes.count >= Self.headerSize + ConversationTag.size
    }

    /// - Returns: whether anything can be noted.
    private mutating func begin() -> Bool {
        if bytes.isEmpty {
            bytes.reserveCapacity(128)
            bytes.append(Self.format)
            bytes.append(contentsOf: repeatElement(0, count: Self.headerSize - 1))
        }
        return isReadable
    }

    private mutating func append(_ entry: [UInt8]) {
        if Int(bytes[2]) < Self.keptFirst + Self.keptLast {
            bytes[2] += 1
            bytes.write(counted: entry)
        } else if var encoded = encodedEntries {
            encoded.remove(at: Self.keptFirst)
            write(encoded.map(Array.init) + [entry], dropped: dropped + 1)
        }
    }

    private mutating func write(_ encoded: [[UInt8]], dropped: Int) {
        var all: [UInt8] = []
        all.reserveCapacity(bytes.count + 64)
        all.append(contentsOf: bytes.prefix(2))
        all.append(UInt8(encoded.count))
        withUnsafeBytes(of: UInt32(clamping: dropped).bigEndian) { all.append(contentsOf: $0) }
        if let conversation { all.append(contentsOf: conversation.bytes) }
        for entry in encoded { all.write(counted: entry) }
        bytes = all
    }

    private func holds(_ entry: [UInt8]) -> Bool {
        guard var reader = entriesReader else { return false }
        for _ in 0..<bytes[2] {
            guard let known = reader.readBytes() else { return false }
            if known.elementsEqual(entry) { return true }
        }
        return false
    }

    private var entriesReader: ByteReader? {
        guard isReadable else { return nil }
        let isNamed = bytes[1] & Self.hasConversation != 0
        return ByteReader(bytes.dropFirst(Self.headerSize + (isNamed ? ConversationTag.size : 0)))
    }

    /// `nil` where they do not add up.
    private var encodedEntries: [ArraySlice<UInt8>]? {
        guard var reader = entriesReader else { return nil }
        var encoded: [ArraySlice<UInt8>] = []
        encoded.reserveCapacity(Int(bytes[2]))
        for _ in 0..<bytes[2] {
            guard let entry = reader.readBytes() else { return nil }
            encoded.append(entry)
        }
        return encoded.count <= Self.keptFirst + Self.keptLast ? encoded : nil
    }
}

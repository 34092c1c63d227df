// Where answers may go, and which trace context is passed on.

extension DecodingRules {
    /// Whether an answer may be sent to this queue.
    public func allowsReply(to queue: String) -> Bool {
        guard queue.utf8.count <= 255, queue.utf8.allSatisfy({ $0 >= 0x20 }), !isReserved(queue) else { return false }
        return queue == resultsQueue || replyAllowList.contains { $0.matches(queue) }
    }
}

extension DecodingRules {
    /// Whether nothing but workers may put something into a queue: it is one of theirs, or named after one.
    public func isOwn(_ queue: String) -> Bool { queue == resultsQueue || isReserved(queue) }

    /// Whether a queue is one of ``reservedQueues``, or belongs to one by its name.
    public func isReserved(_ queue: String) -> Bool {
        if reservedQueues.contains(queue) { return true }
        // Every answer's queue comes by here, and there may be hundreds of partitions. What is named after a queue has one
        // to three parts more than it.
        var base = Substring(queue)
        for _ in 0..<3 {
            guard let dot = base.utf8.lastIndex(of: UInt8(ascii: ".")) else { return false }
            base = base[..<dot]
            if reservedQueues.contains(String(base)), Self.isNamed(queue, after: String(base)) { return true }
        }
        return false
    }

    /// Whether `queue` goes with `base`: a parking queue, what partitions need, or an operator's lock.
    private static func isNamed(_ queue: String, after base: String) -> Bool {
        ParkingQueue.isOne(queue, of: base) || PartitionedQueue.isOne(queue, of: base)
            || queue == base + ".operator" || queue == base + ".operator.name"
    }
}

extension ReplyPattern {
    /// The broker's own queues (`amq.…`) are matched only by a pattern that names them as such, and those of direct
    /// reply-to only by ``directReplyTo``.
    package func matches(_ queue: String) -> Bool {
        let isDirect = queue.utf8.starts(with: "amq.rabbitmq.".utf8)
        switch self {
        case .directReplyTo:
            return queue.utf8.starts(with: "amq.rabbitmq.reply-to.".utf8) && queue.utf8.count > 22
        case .queue(let name):
            return !isDirect && queue.utf8.elementsEqual(name.utf8)
        case .prefix(let prefix):
            let isBrokers = queue.utf8.starts(with: "amq.".utf8)
            return !isDirect && queue.utf8.starts(with: prefix.utf8)
                && (!isBrokers || prefix.utf8.starts(with: "amq.".utf8))
        }
    }
}

extension TraceContext {
    /// W3C asks that at least this much of a `tracestate` is passed on; one that is longer is dropped.
    private static let maximumStateBytes = 512

    /// Takes what is well formed and drops the rest: a broken trace is no reason to refuse a command.
    init(wellFormedIn traceparent: String?, tracestate: String?) {
        guard let traceparent, Self.isWellFormed(traceparent) else {
            self.init()
            return
        }
        self.init()
        self.traceparent = traceparent
        if let tracestate, tracestate.utf8.count <= Self.maximumStateBytes, tracestate.isHeaderSafe {
            self.tracestate = tracestate
        }
    }

    /// W3C Trace Context, §3.2: `version-traceid-parentid-flags` in lower-case digits, ids not all zero; a version after
    /// 00 may add fields.
    static func isWellFormed(_ traceparent: String) -> Bool {
        var traceparent = traceparent
        return traceparent.withUTF8(isWellFormed)
    }

    private static func isWellFormed(_ bytes: UnsafeBufferPointer<UInt8>) -> Bool {
        guard (55...256).contains(bytes.count) else { return false }
        var (traceBits, parentBits): (UInt8, UInt8) = (0, 0)
        for index in 0..<55 {
            if index == 2 || index == 35 || index == 52 {
                guard bytes[index] == UInt8(ascii: "-") else { return false }
                continue
            }
            guard let digit = bytes[index].hexadecimalValue, bytes[index].lowercasedASCII == bytes[index] else {
                return false
            }
            if index > 2, index < 35 { traceBits |= digit }
            if index > 35, index < 52 { parentBits |= digit }
        }
        guard traceBits != 0, parentBits != 0 else { return false }
        let (f, zero) = (UInt8(ascii: "f"), UInt8(ascii: "0"))
        if bytes[0] == f, bytes[1] == f { return false }
        if bytes.count == 55 { return true }
        return !(bytes[0] == zero && bytes[1] == zero) && bytes[55] == UInt8(ascii: "-")
            && bytes.allSatisfy { (0x21...0x7E).contains($0) }
    }
}

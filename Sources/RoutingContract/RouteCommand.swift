// A command, decoded and valid.

/// What a command asks for. The raw value is what stands in the message's `type` and in answers.
public enum CommandKind: String, Sendable, Hashable, CaseIterable {
    /// `POST /api/v1/route`
    case route
    /// `DELETE /api/v1/route`
    case delete
}

/// A moment in UTC, in milliseconds since 1970-01-01.
public struct Timestamp: Sendable, Hashable, Comparable {
    public var milliseconds: Int64

    public init(milliseconds: Int64) {
        self.milliseconds = milliseconds
    }

    public static func < (left: Timestamp, right: Timestamp) -> Bool { left.milliseconds < right.milliseconds }

    /// Saturates instead of overflowing: both sides can come from a publisher.
    public static func + (left: Timestamp, right: Duration) -> Timestamp {
        let (sum, overflow) = left.milliseconds.addingReportingOverflow(right.wholeMilliseconds)
        return Timestamp(milliseconds: overflow ? (right.wholeMilliseconds > 0 ? .max : .min) : sum)
    }

    public static func - (left: Timestamp, right: Timestamp) -> Duration {
        let (difference, overflow) = left.milliseconds.subtractingReportingOverflow(right.milliseconds)
        return .milliseconds(overflow ? (left.milliseconds > 0 ? Int64.max : .min) : difference)
    }
}

extension Duration {
    /// Milliseconds, rounded towards zero; saturated at the ends of `Int64`.
    public var wholeMilliseconds: Int64 {
        let (seconds, attoseconds) = components
        let (milliseconds, overflow) = seconds.multipliedReportingOverflow(by: 1000)
        guard !overflow else { return seconds > 0 ? .max : .min }
        let (sum, overflowed) = milliseconds.addingReportingOverflow(attoseconds / 1_000_000_000_000_000)
        return overflowed ? (seconds > 0 ? .max : .min) : sum
    }
}

/// W3C trace context, passed on untouched when it is well formed enough to be a header.
public struct TraceContext: Sendable, Hashable {
    public var traceparent: String?
    public var tracestate: String?

    public init(traceparent: String? = nil, tracestate: String? = nil) {
        self.traceparent = traceparent
        self.tracestate = tracestate
    }

    /// The trace id, 32 hexadecimal digits, of a `traceparent` that has the form of W3C Trace Context §3.2.
    public var traceID: Substring? {
        guard let parts = traceparent?.split(separator: "-", omittingEmptySubsequences: false), parts.count >= 4,
            parts[1].utf8.count == 32, parts[1].allSatisfy({ $0.isASCII && $0.isHexDigit })
        else { return nil }
        return parts[1]
    }
}

/// What an answer must carry back, known as soon as a message has been read, whether or not the command is valid.
public struct ReplyAddress: Sendable, Hashable {
    /// Where the answer goes: a queue's name (or `amq.rabbitmq.reply-to.…`); `nil` is the results queue.
    public var replyTo: String?
    /// Echoed; `nil` falls back to the RequestId.
    public var correlationID: String?
    public var trace: TraceContext

    public init(replyTo: String? = nil, correlationID: String? = nil, trace: TraceContext = TraceContext()) {
        self.replyTo = replyTo
        self.correlationID = correlationID
        self.trace = trace
    }
}

/// A routing command that passed validation: everything that a call, a claim and an answer need.
public struct RouteCommand: Sendable, Hashable {
    public var key: CommandKey
    /// The `AuthorizationContext` header: developer name of the ConversationChannelDefinition.
    public var context: String
    /// The `AuthorizationContextType` header; sent with POST only.
    public var contextType: String?
    /// `conversationIdentifier` of the payload.
    public var conversation: String
    /// `routingType` of the payload (`Initial`, `Transfer`, `Conference` or a future one); `nil` for a delete.
    public var routingType: String?
    /// The API's own JSON, byte for byte as it came.
    public var payload: [UInt8]
    public var fingerprint: Fingerprint
    public var reply: ReplyAddress
    /// When the platform issued it, if it said so; only this counts for superseding.
    public var issuedAt: Timestamp?
    /// After this no call may be made; `nil` for none.
    public var deadline: Timestamp?
    /// How often a dead letter of this command has been replayed.
    public var replay: Int
    /// Whether the replay accepts that an outcome `unknown` may become a second effect.
    public var acceptsSecondEffect: Bool

    public var conversationKey: ConversationKey { ConversationKey(org: key.org, conversation: conversation) }

    public init(
        key: CommandKey, context: String, contextType: String? = nil, conversation: String, routingType: String? = nil,
        payload: [UInt8], fingerprint: Fingerprint, reply: ReplyAddress = ReplyAddress(), issuedAt: Timestamp? = nil,
        deadline: Timestamp? = nil, replay: Int = 0, acceptsSecondEffect: Bool = false
    ) {
        self.key = key
        self.context = context
        self.contextType = contextType
        self.conversation = conversation
        self.routingType = routingType
        self.payload = payload
        self.fingerprint = fingerprint
        self.reply = reply
        self.issuedAt = issuedAt
        self.deadline = deadline
        self.replay = replay
        self.acceptsSecondEffect = acceptsSecondEffect
    }
}

// What the decoder must know beside the message: rules, orgs, queue defaults; and what it says of an invalid message.

/// Everything the decoder must know beside the message itself.
public struct DecodingRules: Sendable {
    /// Bytes of body accepted; a larger one is `invalid`.
    public var maximumBodyBytes = 256 * 1024
    /// Nesting of JSON accepted; a deeper one is `invalid`.
    public var maximumDepth = 64
    /// How far ahead of `now` an issue time may lie.
    public var futureTolerance: Duration = .seconds(300)
    /// A command issued longer ago than this is `expired` (judged by the pipeline), and the retention of outcomes.
    public var retention: Duration = .seconds(24 * 3600)
    /// How long after its issue a `Transfer` or `Conference` may still be called, where no `Deadline` is given.
    public var transferDeadline: Duration = .seconds(40)
    /// Where answers go to that name no other queue.
    public var resultsQueue = "routing.results"
    /// Where answers may go beside the results queue; see ``ReplyPattern``.
    public var replyAllowList: [ReplyPattern] = [.directReplyTo]
    /// Queues that nothing is ever sent to by a message's or an operator's wish: commands, dead letters, coordination. Nor to
    /// those that are named after them, see ``isReserved(_:)``.
    public var reservedQueues: Set<String> = []
    /// Whether `Replay` headers of messages count on every queue. Off: they are read as 0, but where
    /// ``QueueDefaults/honoursReplay`` says otherwise.
    public var honoursReplay = false

    public init() {}
}

/// An org that commands may be for.
public struct KnownOrg: Sendable, Hashable {
    public var id: OrgID
    /// The alias under which the configuration lists it.
    public var alias: String
    /// The AuthorizationContext used where a command names none.
    public var defaultContext: String?
    public var validation: Validation
    /// Overrides ``DecodingRules/transferDeadline``.
    public var transferDeadline: Duration?

    public enum Validation: String, Sendable, Hashable { case lenient, strict }

    public init(
        id: OrgID, alias: String, defaultContext: String? = nil, validation: Validation = .lenient,
        transferDeadline: Duration? = nil
    ) {
        self.id = id
        self.alias = alias
        self.defaultContext = defaultContext
        self.validation = validation
        self.transferDeadline = transferDeadline
    }
}

/// The orgs of the configuration, found by id or alias.
public struct OrgDirectory: Sendable {
    private var byName: [String: KnownOrg] = [:]

    /// In no order.
    public var orgs: [KnownOrg] { byName.compactMap { $0.key == $0.value.id.description ? $0.value : nil } }

    public init(_ orgs: [KnownOrg] = []) {
        for org in orgs { byName[org.alias] = org }
        // An id never means an org that only has it as its alias.
        for org in orgs { byName[org.id.description] = org }
    }

    /// Finds by alias, or by id in 15 or 18 characters.
    public func find(_ name: String) -> KnownOrg? {
        byName[name] ?? OrgID(name).flatMap { byName[$0.description] }
    }
}

/// What a commands queue adds to the rules.
public struct QueueDefaults: Sendable, Hashable {
    /// Alias or id of the org for commands that name none.
    public var org: String?
    public var context: String?
    /// Aliases or ids of the orgs that may use the queue; empty allows all.
    public var allowedOrgs: Set<String> = []
    /// Whether the routing key of a message must be its conversation (partitioned topology).
    public var routingKeyIsConversation = false
    /// Whether `Replay` headers of messages count on this queue.
    public var honoursReplay = false

    public init(
        org: String? = nil, context: String? = nil, allowedOrgs: Set<String> = [],
        routingKeyIsConversation: Bool = false, honoursReplay: Bool = false
    ) {
        self.org = org
        self.context = context
        self.allowedOrgs = allowedOrgs
        self.routingKeyIsConversation = routingKeyIsConversation
        self.honoursReplay = honoursReplay
    }
}

/// Where answers may go.
public enum ReplyPattern: Sendable, Hashable {
    /// `amq.rabbitmq.reply-to.…`
    case directReplyTo
    /// This queue exactly.
    case queue(String)
    /// Any queue whose name starts so.
    case prefix(String)
}

/// A message that is no valid command, and what is known of it all the same.
public struct InvalidCommand: Error, Sendable, Hashable {
    public var error: CommandError
    public var kind: CommandKind?
    public var request: RequestID?
    public var org: OrgID?
    public var conversation: String?
    /// Its `replyTo` is `nil` unless the address is one that may be used.
    public var reply: ReplyAddress
    /// See ``RouteCommand/replay``.
    public var replay: Int

    public init(
        error: CommandError, kind: CommandKind? = nil, request: RequestID? = nil, org: OrgID? = nil,
        conversation: String? = nil, reply: ReplyAddress = ReplyAddress(), replay: Int = 0
    ) {
        self.error = error
        self.kind = kind
        self.request = request
        self.org = org
        self.conversation = conversation
        self.reply = reply
        self.replay = replay
    }
}

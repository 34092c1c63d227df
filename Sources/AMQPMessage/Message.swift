// A message as AMQP 0-9-1 knows it: properties and a body. No I/O, no C types.

/// The properties of a message (AMQP 0-9-1, class `basic`).
///
/// Short strings hold at most 255 bytes of UTF-8; longer ones are refused when publishing, before anything is sent.
public struct MessageProperties: Sendable, Hashable {
    public var contentType: String?
    public var contentEncoding: String?
    public var headers: FieldTable
    /// 2 is persistent, 1 (or absent) transient.
    public var deliveryMode: UInt8?
    public var priority: UInt8?
    public var correlationID: String?
    public var replyTo: String?
    /// Milliseconds, as a decimal string.
    public var expiration: String?
    public var messageID: String?
    /// Seconds since 1970-01-01 UTC, by the specification; some publishers send milliseconds.
    public var timestamp: UInt64?
    public var type: String?
    /// The broker closes the channel (406) when this is set and is not the publishing connection's user.
    public var userID: String?
    public var appID: String?
    public var clusterID: String?

    public init(
        contentType: String? = nil, contentEncoding: String? = nil, headers: FieldTable = FieldTable(),
        deliveryMode: UInt8? = nil, priority: UInt8? = nil, correlationID: String? = nil, replyTo: String? = nil,
        expiration: String? = nil, messageID: String? = nil, timestamp: UInt64? = nil, type: String? = nil,
        userID: String? = nil, appID: String? = nil, clusterID: String? = nil
    ) {
        self.contentType = contentType
        self.contentEncoding = contentEncoding
        self.headers = headers
        self.deliveryMode = deliveryMode
        self.priority = priority
        self.correlationID = correlationID
        self.replyTo = replyTo
        self.expiration = expiration
        self.messageID = messageID
        self.timestamp = timestamp
        self.type = type
        self.userID = userID
        self.appID = appID
        self.clusterID = clusterID
    }
}

/// A message: properties and a body that nobody but the receiver interprets.
///
/// A value, of which a copy is one reference: with a dozen strings to each, copies would cost more than anything else that
/// is done with a message on its way through a worker.
public struct Message: Sendable, Hashable {
    /// Unchecked, since it is only changed while nobody else refers to it.
    private final class Parts: @unchecked Sendable {
        var properties: MessageProperties
        var body: [UInt8]

        init(_ properties: MessageProperties, _ body: [UInt8]) {
            self.properties = properties
            self.body = body
        }
    }

    private var parts: Parts

    public var properties: MessageProperties {
        _read { yield parts.properties }
        _modify {
            unshare()
            yield &parts.properties
        }
    }

    public var body: [UInt8] {
        _read { yield parts.body }
        _modify {
            unshare()
            yield &parts.body
        }
    }

    public init(properties: MessageProperties = MessageProperties(), body: [UInt8]) {
        parts = Parts(properties, body)
    }

    private mutating func unshare() {
        if !isKnownUniquelyReferenced(&parts) { parts = Parts(parts.properties, parts.body) }
    }

    public static func == (left: Message, right: Message) -> Bool {
        left.parts === right.parts || (left.body == right.body && left.properties == right.properties)
    }

    public func hash(into hasher: inout Hasher) {
        hasher.combine(properties)
        hasher.combine(body)
    }
}

/// A message and where it goes.
public struct OutgoingMessage: Sendable, Hashable {
    public var message: Message
    /// The empty string is the default exchange, which routes to the queue named by the routing key.
    public var exchange: String
    public var routingKey: String
    /// Whether the broker returns the message when no queue takes it. Without it such a message is confirmed and lost.
    public var mandatory: Bool

    public init(_ message: Message, exchange: String = "", routingKey: String, mandatory: Bool = true) {
        self.message = message
        self.exchange = exchange
        self.routingKey = routingKey
        self.mandatory = mandatory
    }
}

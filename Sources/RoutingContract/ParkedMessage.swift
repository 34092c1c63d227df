// A command set aside on the broker while its org is in trouble, and how it comes back as what it was.

public import AMQPMessage

/// Where commands of an org in trouble wait.
public enum ParkingQueue {
    /// Stands between the commands queue and the org.
    public static let infix = ".parked."

    /// The parking queue of an org's commands from a commands queue.
    public static func name(of commandsQueue: String, org: OrgID) -> String { commandsQueue + infix + org.description }

    /// Whether `queue` is a parking queue of `commandsQueue`.
    public static func isOne(_ queue: String, of commandsQueue: String) -> Bool {
        queue.utf8.starts(with: commandsQueue.utf8)
            && queue.utf8.dropFirst(commandsQueue.utf8.count).starts(with: infix.utf8)
    }
}

/// A message in a parking queue.
///
/// Body and properties stay, except what would act again when published, and what a client could stumble over: these
/// properties (`user_id`, `expiration`, `message_id`, `delivery_mode`, a bare direct reply-to) and all headers move into
/// one table, the header `Parked`, beside where the message came from. So it comes back exactly as it was.
public struct ParkedMessage: Sendable, Hashable {
    /// As it was delivered from the commands queue.
    public var message: Message
    /// Where from.
    public var origin: DeliveryOrigin
    /// When a worker received it first: its time in parking counts from here.
    public var receivedAt: Timestamp
    /// How often it had been delivered before it was parked.
    public var earlierDeliveries: Int
    /// After this no call may be made; `nil` for none.
    public var deadline: Timestamp?

    public init(
        message: Message, origin: DeliveryOrigin, receivedAt: Timestamp, earlierDeliveries: Int, deadline: Timestamp?
    ) {
        self.message = message
        self.origin = origin
        self.receivedAt = receivedAt
        self.earlierDeliveries = earlierDeliveries
        self.deadline = deadline
    }

    /// The message to publish to the parking queue.
    ///
    /// - Parameters:
    ///   - messageID: unique, so that a return of it can be told from others.
    ///   - maximumBytes: properties travel in one frame; the default leaves room in one of 128 KiB.
    /// - Throws: ``UnencodableProperties`` where the properties leave no way to publish it again.
    public func encoded(
        messageID: String, maximumBytes: Int = 131_072 - 64
    ) throws(UnencodableProperties) -> Message {
        var properties = message.properties
        var table: FieldTable = [
            Key.queue: .string(origin.queue), Key.exchange: .string(origin.exchange),
            Key.routingKey: .string(origin.routingKey), Key.receivedAt: .int64(receivedAt.milliseconds),
            Key.earlierDeliveries: .int64(Int64(earlierDeliveries)),
        ]
        table[Key.deadline] = deadline.map { .int64($0.milliseconds) }
        table[Key.userID] = properties.userID.map { .string($0) }
        table[Key.expiration] = properties.expiration.map { .string($0) }
        table[Key.messageID] = properties.messageID.map { .string($0) }
        table[Key.deliveryMode] = properties.deliveryMode.map { .uint8($0) }
        if properties.replyTo == MovedProperties.bareDirectReplyTo {
            table[Key.replyTo] = properties.replyTo.map { .string($0) }
            properties.replyTo = nil
        }
        table.fields.append(FieldTable.Field(Key.headers, .table(properties.headers)))
        properties.userID = nil
        properties.expiration = nil
        properties.messageID = messageID
        properties.deliveryMode = 2
        properties.headers = [HeaderName.parked: .table(table)]
        try properties.checkEncodable(maximumBytes: maximumBytes)
        return Message(properties: properties, body: message.body)
    }

    /// Reads a message from a parking queue; `nil` where it is none that a worker put there.
    public init?(_ parked: Message) {
        guard case .table(let table) = parked.properties.headers[HeaderName.parked],
            case .string(let queue) = table[Key.queue], case .string(let exchange) = table[Key.exchange],
            case .string(let routingKey) = table[Key.routingKey], case .int64(let receivedAt) = table[Key.receivedAt],
            case .int64(let deliveries) = table[Key.earlierDeliveries], case .table(let headers) = table[Key.headers]
        else { return nil }
        func text(_ key: String) -> String? {
            if case .string(let text) = table[key] { text } else { nil }
        }
        message = parked
        message.properties.headers = headers
        message.properties.userID = text(Key.userID)
        message.properties.expiration = text(Key.expiration)
        message.properties.messageID = text(Key.messageID)
        message.properties.replyTo = text(Key.replyTo) ?? parked.properties.replyTo
        message.properties.deliveryMode = nil
        if case .uint8(let mode) = table[Key.deliveryMode] { message.properties.deliveryMode = mode }
        origin = DeliveryOrigin(queue: queue, exchange: exchange, routingKey: routingKey)
        self.receivedAt = Timestamp(milliseconds: receivedAt)
        // Anybody may have put it there: it must be fit to be counted on from.
        earlierDeliveries = Int(Int32(clamping: max(deliveries, 0)))
        deadline = nil
        if case .int64(let deadline) = table[Key.deadline] { self.deadline = Timestamp(milliseconds: deadline) }
    }

    /// The keys of the table.
    private enum Key {
        static let queue = "Queue"
        static let exchange = "Exchange"
        static let routingKey = "RoutingKey"
        static let receivedAt = "ReceivedAt"
        static let earlierDeliveries = "EarlierDeliveries"
        static let deadline = "Deadline"
        static let userID = "user_id"
        static let expiration = "expiration"
        static let messageID = "message_id"
        static let deliveryMode = "delivery_mode"
        static let replyTo = "reply_to"
        static let headers = "Headers"
    }
}

/// A message that says, when it comes back, that everything in front of it in a parking queue has been delivered.
public struct ParkingMarker: Sendable, Hashable {
    private static let type = "parking.marker"
    private static let header = "Marker"

    public var number: UInt64

    public init(_ number: UInt64) { self.number = number }

    /// - Parameter messageID: unique, so that a return of it can be told from others.
    public func encoded(messageID: String) -> Message {
        Message(
            properties: MessageProperties(
                headers: [Self.header: .int64(Int64(bitPattern: number))], deliveryMode: 2, messageID: messageID,
                type: Self.type),
            body: [])
    }

    /// `nil` for anything else than a marker.
    public init?(_ message: Message) {
        guard message.properties.type == Self.type, message.body.isEmpty,
            case .int64(let number) = message.properties.headers[Self.header]
        else { return nil }
        self.number = UInt64(bitPattern: number)
    }
}

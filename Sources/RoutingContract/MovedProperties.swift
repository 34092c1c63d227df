// A message that is published again elsewhere, as it came: without what would act again.

public import AMQPMessage

/// What is moved out of the way when a message is published again, into one table: the header `Original`.
///
/// `user_id`, `expiration`, `CC`, `BCC` and headers starting with `x-` mean the publisher, the queue and the way that the
/// message had. The first value of a name stays: where a message was moved before, that is the true original.
struct MovedProperties {
    /// What stands for a queue of the publisher's own connection.
    static let bareDirectReplyTo = "amq.rabbitmq.reply-to"

    /// What becomes of a header that would not act again.
    enum Fate {
        case keep
        case move
        case drop
    }

    private var table = FieldTable()
    private var names: Set<String> = []

    mutating func add(_ name: String, _ value: FieldValue?) {
        if let value, names.insert(name).inserted { table.fields.append(FieldTable.Field(name, value)) }
    }

    /// Takes properties away that would act again, and makes the message persistent.
    mutating func takeProperties(of properties: inout MessageProperties) {
        properties.deliveryMode = 2
        add("user_id", properties.userID.map { .string($0) })
        properties.userID = nil
        add("expiration", properties.expiration.map { .string($0) })
        properties.expiration = nil
        // The broker closes the channel (406) of whoever publishes this and does not consume from it.
        if properties.replyTo == Self.bareDirectReplyTo {
            add("reply_to", properties.replyTo.map { .string($0) })
            properties.replyTo = nil
        }
    }

    /// - Returns: the headers that stay.
    mutating func takeHeaders(of headers: FieldTable, fate: (FieldTable.Field) -> Fate = { _ in .keep }) -> FieldTable {
        // An earlier `Original` is carried over, not wrapped once more each time.
        for field in headers.fields where field.key.isSame(as: HeaderName.original) {
            guard case .table(let earlier) = field.value else { continue }
            for field in earlier.fields { add(field.key, field.value) }
        }
        var kept = FieldTable()
        for field in headers.fields {
            if field.key.isSame(as: HeaderName.original) {
                if case .table = field.value { continue }
                add(field.key, field.value)
            } else if field.key.isEmpty {
                // Many a client built on librabbitmq never gets past a message with an empty key.
                add("(empty key)", field.value)
            } else if field.key.isSame(as: "CC") || field.key.isSame(as: "BCC")
                || field.key.utf8.prefix(2).elementsEqual("x-".utf8)
                || field.key.utf8.prefix(2).elementsEqual("X-".utf8)
            {
                add(field.key, field.value)
            } else {
                switch fate(field) {
                case .keep: kept.fields.append(field)
                case .move: add(field.key, field.value)
                case .drop: break
                }
            }
        }
        return kept
    }

    /// Adds the table, where there is something in it.
    func append(to headers: inout FieldTable) {
        if !table.isEmpty { headers.fields.append(FieldTable.Field(HeaderName.original, .table(table))) }
    }
}

extension Message {
    /// The message as it is handed on to another queue: body, properties and headers as they came, but for what would act
    /// again, which moves into the header `Original` as in a dead letter.
    ///
    /// - Parameters:
    ///   - messageID: for a message without a `message_id`: a return of it could not be told from others.
    ///   - maximumBytes: properties travel in one frame; the default leaves room in one of 128 KiB.
    /// - Throws: ``UnencodableProperties`` where the properties leave no way to publish it again.
    public func handedOn(
        messageID: String, maximumBytes: Int = 131_072 - 64
    ) throws(UnencodableProperties) -> Message {
        var moved = MovedProperties()
        var kept = properties
        kept.headers = moved.takeHeaders(of: properties.headers)
        moved.takeProperties(of: &kept)
        if kept.messageID?.isEmpty ?? true { kept.messageID = messageID }
        moved.append(to: &kept.headers)
        try kept.checkEncodable(maximumBytes: maximumBytes)
        return Message(properties: kept, body: body)
    }
}

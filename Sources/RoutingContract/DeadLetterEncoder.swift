// What failed, kept for a person to look at and to replay: the original message, and why it failed.

public import AMQPMessage

/// Where a message was consumed from.
public struct DeliveryOrigin: Sendable, Hashable {
    public var queue: String
    public var exchange: String
    public var routingKey: String

    public init(queue: String, exchange: String = "", routingKey: String) {
        self.queue = queue
        self.exchange = exchange
        self.routingKey = routingKey
    }
}

/// Encodes dead letters.
///
/// A dead letter is its original message: body untouched, properties kept. It can be published to its origin queue again
/// and decodes to the same command, since what came from properties or defaults is also put into headers. What would act
/// again when republished (`user_id`, `expiration`, `CC`, `BCC`, `Accept-Duplicate`, headers starting with `x-`) moves into
/// one table, the header `Original`; so does a `Replay` that did not count, and so does the `message_id`, which a dead letter
/// has of its own: a UUIDv5 of what an answer's follows from, and the reason. A dead letter that fails again after a replay
/// keeps the entries of its first `Original`.
public struct DeadLetterEncoder: Sendable {
    /// Bytes kept of an error's message.
    public static let maximumErrorBytes = 1024
    /// What the worker says of its own in a dead letter. The replay count stands beside it, since it belongs to the command.
    static let ownHeaders = [
        HeaderName.outcome, HeaderName.reason, HeaderName.code, HeaderName.error, HeaderName.httpStatus,
        HeaderName.attempts, HeaderName.originQueue, HeaderName.originExchange, HeaderName.originRoutingKey,
        HeaderName.worker, HeaderName.receivedAt, HeaderName.deadLetteredAt,
    ]
    /// Bytes that properties and headers may take together when encoded.
    public let maximumHeaderBytes: Int

    /// - Parameter maximumHeaderBytes: properties travel in one frame; the default leaves room in one of 128 KiB.
    public init(maximumHeaderBytes: Int = 131_072 - 64) {
        self.maximumHeaderBytes = maximumHeaderBytes
    }

    /// Encodes one dead letter.
    ///
    /// - Parameter now: when it is dead-lettered.
    /// - Throws: ``UnencodableProperties`` where the original's properties leave no way to publish it again; such a
    ///   message is rejected to the broker's dead-letter exchange as it is.
    public func encode(
        _ original: Message, from origin: DeliveryOrigin, about subject: AnswerSubject, result: CommandResult,
        now: Timestamp
    ) throws(UnencodableProperties) -> Message {
        var kept = original.properties
        var moved = MovedProperties()
        let own = ownHeaders(origin: origin, subject: subject, result: result, now: now)
        kept.headers = moveHeaders(of: original.properties.headers, replacedBy: own, to: &moved)

        moved.takeProperties(of: &kept)
        let messageID = subject.messageID(
            purpose: "dead-letter", outcome: result.outcome, reason: result.error?.reason, naming: subject.names)
        if kept.messageID != messageID { moved.add("message_id", kept.messageID.map { .string($0) }) }
        kept.messageID = messageID

        completeCommand(of: &kept.headers, subject: subject)
        kept.headers.fields += own
        moved.append(to: &kept.headers)
        try kept.checkEncodable(maximumBytes: maximumHeaderBytes)
        return Message(properties: kept, body: original.body)
    }

    private func ownHeaders(
        origin: DeliveryOrigin, subject: AnswerSubject, result: CommandResult, now: Timestamp
    ) -> [FieldTable.Field] {
        var fields: [FieldTable.Field] = []
        func add(_ name: String, _ value: FieldValue?) {
            if let value { fields.append(FieldTable.Field(name, value)) }
        }
        add(HeaderName.outcome, .string(result.outcome.rawValue))
        add(HeaderName.reason, result.error.map { .string($0.reason.prefix(bytes: Self.maximumErrorBytes)) })
        add(HeaderName.code, result.error?.code.map { .int64(Int64($0)) })
        add(HeaderName.error, result.error.map { .string($0.message.prefix(bytes: Self.maximumErrorBytes)) })
        add(HeaderName.httpStatus, result.httpStatus.map { .int64(Int64($0)) })
        add(HeaderName.attempts, .int64(Int64(result.attempts)))
        add(HeaderName.originQueue, .string(origin.queue))
        add(HeaderName.originExchange, .string(origin.exchange))
        add(HeaderName.originRoutingKey, .string(origin.routingKey))
        add(HeaderName.worker, .string(result.worker))
        add(HeaderName.receivedAt, .string(result.receivedAt.rfc3339))
        add(HeaderName.deadLetteredAt, .string(now.rfc3339))
        // That of the recorded outcome, which a duplicate does not carry itself.
        add(HeaderName.replay, subject.replay > 0 ? .int64(Int64(subject.replay)) : nil)
        return fields
    }

    /// The headers that stay.
    private func moveHeaders(
        of table: FieldTable, replacedBy own: [FieldTable.Field], to moved: inout MovedProperties
    ) -> FieldTable {
        moved.takeHeaders(of: table) { field in
            if field.key.isSame(as: HeaderName.replay) {
                // Its own count stands there again.
                return own.contains { $0.key == HeaderName.replay } ? .drop : .move
            }
            let isReplaced = own.contains { $0.key.isSame(as: field.key) }
            return isReplaced || field.key.isSame(as: HeaderName.acceptDuplicate) ? .move : .keep
        }
    }

    /// Adds what the decoder took from properties and defaults, so that a replay needs neither.
    private func completeCommand(of headers: inout FieldTable, subject: AnswerSubject) {
        func add(_ name: String, _ value: String?) {
            guard let value else { return }
            headers.fields.removeAll { $0.key.isSame(as: name) && $0.value == .void }
            if !headers.fields.contains(where: { $0.key.isSame(as: name) }) {
                headers.fields.append(FieldTable.Field(name, .string(value)))
            }
        }
        add(HeaderName.command, subject.kind?.rawValue)
        add(HeaderName.requestID, subject.request?.description)
        add(HeaderName.orgID, subject.org?.description)
        add(HeaderName.context, subject.context)
    }
}

extension String {
    /// The longest beginning of whole characters that fits.
    func prefix(bytes limit: Int) -> String {
        guard utf8.count > limit else { return self }
        var end = utf8.index(utf8.startIndex, offsetBy: limit)
        while end.samePosition(in: unicodeScalars) == nil { end = utf8.index(before: end) }
        return String(self[..<end])
    }
}

// The way back from a dead letter: what it says of its command, and the command once more.

public import AMQPMessage

/// A dead letter, read.
///
/// Beside those that the worker wrote there are messages that it rejected to the broker's dead-letter exchange as they
/// were: they have no ``outcome``, and the broker's `x-death` header tells the rest.
public struct DeadLetter: Sendable, Hashable {
    public var message: Message
    /// False where the message cannot be published again as it came.
    public var isComplete: Bool
    /// Of the body, also where it was not kept.
    public var bodyBytes: Int

    /// How its command ended, in the words of the header.
    public var outcome: String?
    public var reason: String?
    public var code: Int?
    public var error: String?
    public var httpStatus: Int?
    public var attempts: Int?
    public var worker: String?
    public var originQueue: String?
    public var receivedAt: Timestamp?
    public var deadLetteredAt: Timestamp?
    public var command: String?
    /// In its usual form where it is a UUID, otherwise as it stands there.
    public var requestID: String?
    /// Alias or id, as it stands there.
    public var org: String?
    public var context: String?
    /// See ``RouteCommand/replay``: that of the command that failed; at most ``maximumReplays``.
    public var replay: Int

    /// How often a command can be replayed.
    public static let maximumReplays = 1_000_000

    /// - Parameters:
    ///   - isComplete: false where the message cannot be published again as it came.
    ///   - bodyBytes: of a body that was not kept.
    public init(_ message: Message, isComplete: Bool = true, bodyBytes: Int? = nil) {
        self.message = message
        self.isComplete = isComplete
        self.bodyBytes = bodyBytes ?? message.body.count
        let headers = message.properties.headers
        func text(_ name: String) -> String? { headers.value(of: name)?.text }
        func number(_ name: String) -> Int? {
            headers.value(of: name).flatMap { $0.integer ?? $0.text.flatMap { Int64($0) } }.map { Int(clamping: $0) }
        }
        func time(_ name: String) -> Timestamp? { text(name).flatMap { Timestamp(rfc3339: $0) } }
        command = text(HeaderName.command) ?? message.properties.type
        requestID = (text(HeaderName.requestID) ?? message.properties.messageID).map {
            RequestID($0)?.description ?? $0
        }
        org = text(HeaderName.orgID)
        context = text(HeaderName.context)
        // Just above the bound a replay is refused; far above it, counting on would overflow.
        replay = min(max(0, number(HeaderName.replay) ?? 0), Self.maximumReplays)
        guard headers.value(of: HeaderName.deadLetteredAt) != nil, let outcome = text(HeaderName.outcome) else {
            readBrokersDeath(headers)
            return
        }
        self.outcome = outcome
        reason = text(HeaderName.reason)
        code = number(HeaderName.code)
        error = text(HeaderName.error)
        httpStatus = number(HeaderName.httpStatus)
        attempts = number(HeaderName.attempts)
        worker = text(HeaderName.worker)
        originQueue = text(HeaderName.originQueue)
        receivedAt = time(HeaderName.receivedAt)
        deadLetteredAt = time(HeaderName.deadLetteredAt)
    }

    /// The newest entry stands first (RabbitMQ, "Dead Letter Exchanges").
    private mutating func readBrokersDeath(_ headers: FieldTable) {
        replay = 0
        guard case .array(let deaths) = headers.value(of: "x-death"), case .table(let death) = deaths.first else {
            return
        }
        reason = death.value(of: "reason")?.text
        originQueue = death.value(of: "queue")?.text
        if case .timestamp(let seconds) = death.value(of: "time") { deadLetteredAt = Timestamp(amqp: seconds) }
    }
}

/// What a replay needs beside the dead letter.
public struct ReplayTerms: Sendable, Hashable {
    /// Replaces that of the command; `nil` leaves it.
    public var deadline: Timestamp?
    /// Whether a possible second effect is accepted.
    public var acceptsDuplicate: Bool

    public init(deadline: Timestamp? = nil, acceptsDuplicate: Bool = false) {
        self.deadline = deadline
        self.acceptsDuplicate = acceptsDuplicate
    }
}

/// Why a dead letter is not replayed.
public enum ReplayRefusal: Error, Sendable, Hashable {
    /// It cannot be published again as it came.
    case incomplete
    /// The replay count is at its end.
    case tooManyReplays
    /// It would end `invalid` at once: these words say why.
    case stillInvalid(CommandError)
    /// It would end `expired` at once: its deadline was this.
    case deadlinePassed(Timestamp)
    /// A call of it may have taken effect.
    case mayHaveTakenEffect
    /// It was issued longer ago than outcomes are kept, so that nobody knows whether it was called for.
    case olderThanRetention(issuedAt: Timestamp)
    /// With what it takes to be called again its properties cannot be written any more.
    case unencodable(UnencodableProperties)
}

extension DeadLetter {
    /// Whose command it was, as far as headers and body tell, whatever else is wrong with it.
    public func conversation(_ decoder: CommandDecoder) -> (org: OrgID?, conversation: String?) {
        switch decoder.decode(message, routingKey: "", queue: QueueDefaults(), now: Timestamp(milliseconds: 0)) {
        case .success(let command): (command.key.org, command.conversation)
        case .failure(let invalid): (invalid.org, invalid.conversation)
        }
    }

    /// The command to publish to the replay queue: the body byte for byte, its own properties and headers, and a replay
    /// count one above that of the command that failed. What would act again stays in ``HeaderName/original``, so that a
    /// dead letter which it may leave has the same one; of it the `message_id` alone comes back.
    public func replayMessage(_ terms: ReplayTerms) -> Message {
        var message = message
        var original = FieldTable()
        if case .table(let table) = message.properties.headers.value(of: HeaderName.original) { original = table }
        let own = outcome == nil ? [] : DeadLetterEncoder.ownHeaders
        let replaced =
            [HeaderName.replay, HeaderName.acceptDuplicate] + (terms.deadline == nil ? [] : [HeaderName.deadline])
        message.properties.headers.fields.removeAll { field in
            field.key.isEmpty || field.key.isSame(as: "CC") || field.key.isSame(as: "BCC")
                || field.key.utf8.prefix(2).elementsEqual("x-".utf8)
                || field.key.utf8.prefix(2).elementsEqual("X-".utf8)
                || (own + replaced).contains { field.key.isSame(as: $0) }
        }
        func add(_ name: String, _ value: FieldValue) {
            message.properties.headers.fields.append(FieldTable.Field(name, value))
        }
        add(HeaderName.replay, .int64(Int64(replay + 1)))
        if let deadline = terms.deadline { add(HeaderName.deadline, .string(deadline.rfc3339)) }
        if terms.acceptsDuplicate { add(HeaderName.acceptDuplicate, .boolean(true)) }
        if outcome != nil {
            message.properties.messageID =
                original["message_id"]?.text ?? message.properties.headers.value(of: HeaderName.requestID)?.text
        }
        message.properties.deliveryMode = 2
        message.properties.userID = nil
        message.properties.expiration = nil
        if message.properties.replyTo == MovedProperties.bareDirectReplyTo { message.properties.replyTo = nil }
        return message
    }

    /// The same, where the replay can come to something.
    ///
    /// - Parameter decoder: with the rules of the workers.
    /// - Throws: ``ReplayRefusal``
    public func replay(
        _ terms: ReplayTerms, decoder: CommandDecoder, queue: QueueDefaults, routingKey: String, now: Timestamp
    ) throws(ReplayRefusal) -> Message {
        guard isComplete else { throw .incomplete }
        guard replay < Self.maximumReplays else { throw .tooManyReplays }
        let message = replayMessage(terms)
        do throws(UnencodableProperties) {
            try message.properties.checkEncodable(maximumBytes: DeadLetterEncoder().maximumHeaderBytes)
        } catch {
            throw .unencodable(error)
        }
        // Only its answer is announced again, which needs no call; unless its outcome is forgotten by now.
        if outcome == Outcome.succeeded.rawValue || outcome == Outcome.superseded.rawValue {
            if let receivedAt, now - receivedAt > decoder.rules.retention {
                throw .olderThanRetention(issuedAt: receivedAt)
            }
            // It may be under way for longer than its outcome is remembered, and must not be called for then. A deadline
            // matters to nothing that is remembered.
            return replayMessage(ReplayTerms(deadline: now))
        }
        switch decoder.decode(message, routingKey: routingKey, queue: queue, now: now) {
        case .failure(let invalid): throw .stillInvalid(invalid.error)
        case .success(let command):
            if outcome == Outcome.unknown.rawValue, !terms.acceptsDuplicate { throw .mayHaveTakenEffect }
            if let deadline = command.deadline, deadline <= now { throw .deadlinePassed(deadline) }
            if !terms.acceptsDuplicate, let issuedAt = command.issuedAt, now - issuedAt > decoder.rules.retention {
                throw .olderThanRetention(issuedAt: issuedAt)
            }
            return message
        }
    }
}

/// Reasons that the worker gives itself.
public enum AnswerReason {
    /// The answer has nowhere to go.
    public static let unroutable = "answer-unroutable"
}

extension FieldTable {
    /// The first value under this name that says anything, whatever the letter case of its key.
    func value(of name: String) -> FieldValue? {
        fields.first { $0.key.isSame(as: name) && $0.value != .void }?.value
    }
}

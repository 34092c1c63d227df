// What an answer or a dead letter is about: known in full of a command, in part of an invalid message.

public import AMQPMessage

/// Which command an answer is about, and where it goes.
public struct AnswerSubject: Sendable, Hashable {
    public var kind: CommandKind?
    public var request: RequestID?
    public var org: OrgID?
    public var conversation: String?
    public var reply: ReplyAddress
    /// See ``RouteCommand/replay``.
    public var replay: Int
    /// The AuthorizationContext that the command runs under, wherever it came from.
    public var context: String?
    /// What tells it from another meaning of the same RequestId: the bytes of the command's ``Fingerprint``, or for an
    /// invalid message a SHA-256 of its body, `type`, `message_id` and `correlation_id`.
    public var digest: [UInt8]

    public init(_ command: RouteCommand) {
        kind = command.key.kind
        request = command.key.request
        org = command.key.org
        conversation = command.conversation
        reply = command.reply
        replay = command.replay
        context = command.context
        digest = command.fingerprint.bytes
    }

    /// - Parameter message: the message as it was delivered.
    public init(_ invalid: InvalidCommand, message: Message) {
        kind = invalid.kind
        request = invalid.request
        org = invalid.org
        conversation = invalid.conversation
        reply = invalid.reply
        replay = invalid.replay
        var known = FramedFields()
        known.append(message.body)
        known.append(message.properties.type)
        known.append(message.properties.messageID)
        known.append(message.properties.correlationID)
        digest = known.sha256()
        // Its sender may know it by nothing else.
        if reply.correlationID == nil, request == nil, let messageID = message.properties.messageID,
            !messageID.isEmpty, messageID.utf8.count <= 255
        {
            reply.correlationID = messageID
        }
    }

    /// The ids as text, made once for all the places where they are written.
    struct Names {
        let request: String?
        let org: String?
    }

    var names: Names { Names(request: request?.description, org: org?.description) }

    /// What an answer carries back: the correlation id of the command, or else its RequestId.
    public var correlationID: String? { reply.correlationID ?? request?.description }

    /// The id of a message about this subject, a UUIDv5: the same whenever it is published again, another one for
    /// another command, meaning, replay or outcome.
    ///
    /// - Parameter purpose: tells an answer from dead letters.
    func messageID(purpose: String, outcome: Outcome, reason: String? = nil, naming names: Names) -> String {
        var fields = FramedFields()
        fields.reserve(256)
        fields.append(purpose)
        fields.append(names.org)
        fields.append(kind?.rawValue)
        fields.append(names.request)
        fields.append(digest)
        fields.append(String(replay))
        fields.append(outcome.rawValue)
        fields.append(reason)
        return UUIDv5.text(name: fields.bytes)
    }
}

extension CommandResult {
    /// How an invalid message ends.
    public static func invalid(
        _ invalid: InvalidCommand, receivedAt: Timestamp, completedAt: Timestamp, worker: String
    ) -> CommandResult {
        CommandResult(
            outcome: .invalid, error: invalid.error, receivedAt: receivedAt, completedAt: completedAt, worker: worker)
    }
}

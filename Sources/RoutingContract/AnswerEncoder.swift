// The way out: how a command ended, as a message for the one who asked.

public import AMQPMessage

/// Encodes answers.
public struct AnswerEncoder: Sendable {
    /// The `schemaVersion` of the body; grows when a field changes its meaning.
    public static let schemaVersion = 1
    /// Bytes of an API answer that is no JSON that are kept as text.
    public static let maximumTextBytes = 16 * 1024

    public init() {}

    /// Encodes one answer.
    ///
    /// The body's fields always stand in the same order, those without a value as `null`. `message_id` follows from org,
    /// command, RequestId, fingerprint, replay count and outcome, so that the same answer published again can be told
    /// from another one. Where the kind of the command is not known, `type` is `command.result`.
    ///
    /// - Parameter duplicate: whether the outcome was recorded by an earlier delivery.
    public func encode(_ result: CommandResult, about subject: AnswerSubject, duplicate: Bool) -> Message {
        var headers = FieldTable()
        headers.fields.reserveCapacity(5)
        func add(_ name: String, _ value: String?) {
            if let value { headers.fields.append(FieldTable.Field(name, .string(value))) }
        }
        let names = subject.names
        add(HeaderName.requestID, names.request)
        add(HeaderName.orgID, names.org)
        add(HeaderName.outcome, result.outcome.rawValue)
        add(HeaderName.traceparent, subject.reply.trace.traceparent)
        add(HeaderName.tracestate, subject.reply.trace.tracestate)
        let properties = MessageProperties(
            contentType: "application/json", headers: headers, deliveryMode: 2,
            correlationID: subject.correlationID,
            messageID: subject.messageID(purpose: "answer", outcome: result.outcome, naming: names),
            timestamp: result.completedAt.amqp, type: (subject.kind?.rawValue ?? "command") + ".result")
        return Message(properties: properties, body: body(result, about: subject, names, duplicate: duplicate))
    }

    private func body(
        _ result: CommandResult, about subject: AnswerSubject, _ names: AnswerSubject.Names, duplicate: Bool
    ) -> [UInt8] {
        var writer = JSONWriter(capacity: 512 + (result.response?.bytes.count ?? 0))
        writer.object { json in
            json.field("schemaVersion", Self.schemaVersion)
            json.field("requestId", names.request)
            json.field("orgId", names.org)
            json.field("command", subject.kind?.rawValue)
            json.field("conversationIdentifier", subject.conversation)
            json.field("outcome", result.outcome.rawValue)
            json.field("httpStatus", result.httpStatus)
            writeResponse(result.response, to: &json)
            if let error = result.error {
                json.object("error") { json in
                    json.field("code", error.code)
                    json.field("message", error.message)
                    json.field("reason", error.reason)
                }
            } else {
                json.null("error")
            }
            json.field("attempts", result.attempts)
            json.field("duplicate", duplicate)
            json.field("replay", subject.replay)
            json.field("receivedAt", result.receivedAt.rfc3339)
            json.field("completedAt", result.completedAt.rfc3339)
            json.field("worker", result.worker)
        }
        return writer.bytes
    }

    /// As JSON where it is JSON, otherwise as text.
    private func writeResponse(_ response: APIResponse?, to json: inout JSONWriter) {
        guard let response, !response.bytes.isEmpty else { return json.null("response") }
        if response.isJSON {
            json.field("response", json: response.bytes)
        } else {
            json.field("response", String(decoding: response.bytes.prefix(Self.maximumTextBytes), as: UTF8.self))
        }
    }
}

// One message, read step by step: the envelope around a command, its payload, and what becomes of them.

import AMQPMessage

/// One message on its way to a command. Reads on after an error, so that as much as possible is known of it.
struct CommandReading {
    let rules: DecodingRules
    let orgs: OrgDirectory
    /// A copy of its own: each look at them through the message would copy them all.
    let properties: MessageProperties
    let queue: QueueDefaults
    let now: Timestamp

    var attributes: CommandAttributes
    var isEvent = false
    var payload: [UInt8]
    var error: CommandError?

    var kind: CommandKind?
    var request: RequestID?
    var org: OrgID?
    var knownOrg: KnownOrg?
    var context: String?
    var contextType: String?
    var reply = ReplyAddress()

    init(rules: DecodingRules, orgs: OrgDirectory, message: Message, queue: QueueDefaults, now: Timestamp) {
        self.rules = rules
        self.orgs = orgs
        properties = message.properties
        self.queue = queue
        self.now = now
        attributes = CommandAttributes()
        payload = message.body
    }

    mutating func read(routingKey: String) -> Result<RouteCommand, InvalidCommand> {
        readHeaders()
        readReply()
        readKind()
        readRequest()
        readOrg()
        readContext()
        let issuedAt = readIssuedAt()
        let explicitDeadline = readTime(attributes.deadline, named: HeaderName.deadline, otherwise: .deadlineMalformed)
        let (replay, acceptsSecondEffect) = readReplay()
        let document = readBody()
        let conversation = document.flatMap { readConversation($0, routingKey: routingKey) }
        if let document, let kind {
            let rules = PayloadRules(kind: kind, isStrict: knownOrg?.validation == .strict)
            if let problem = rules.problem(in: document.root) { refuse(problem) }
        }

        guard error == nil, let kind, let request, let org, let knownOrg, let context, let document, let conversation
        else {
            let error = error ?? CommandError(.bodyMalformed, "the message is no command")
            return .failure(
                InvalidCommand(
                    error: error, kind: kind, request: request, org: org, conversation: conversation, reply: reply,
                    replay: replay))
        }
        let routingType = kind == .route ? document.root["routingType"]?.string : nil
        var deadline = explicitDeadline
        if deadline == nil, routingType == "Transfer" || routingType == "Conference" {
            // Salesforce gives the whole transfer 60 s, of which the route call may use only a part.
            deadline = (issuedAt ?? now) + (knownOrg.transferDeadline ?? rules.transferDeadline)
        }
        return .success(
            RouteCommand(
                key: CommandKey(org: org, kind: kind, request: request), context: context, contextType: contextType,
                conversation: conversation, routingType: routingType, payload: payload,
                fingerprint: Fingerprint(payload: document.canonical, context: context, contextType: contextType),
                reply: reply, issuedAt: issuedAt, deadline: deadline, replay: replay,
                acceptsSecondEffect: acceptsSecondEffect))
    }

    // MARK: Helpers

    mutating func refuse(_ problem: CommandError) {
        if error == nil { error = problem }
    }

    /// Its text; refuses what is none.
    mutating func text(
        of value: FieldValue, named name: String, otherwise reason: InvalidReason,
        code: Int? = SalesforceCode.header
    ) -> String? {
        if let text = value.text { return text }
        refuse(
            CommandError(
                reason, code: code, "\(name) is a \(value.typeName); send it as a string in UTF-8"))
        return nil
    }

    // MARK: Envelope

    /// Collects the attributes from the headers, and takes apart what is a CloudEvent in either form.
    mutating func readHeaders() {
        let headers = CommandHeaders(properties.headers)
        attributes = headers.plain
        var event = headers.event
        switch EventContentType(properties.contentType) {
        case .structured:
            let body = payload
            payload = []
            guard let envelope = scan(body) else { return }
            do throws(EventProblem) {
                let structured = try StructuredEvent(envelope)
                payload = structured.payload
                event = structured.attributes
            } catch {
                refuse(CommandError(.cloudEventMalformed, error.message))
            }
        case .unsupported:
            refuse(
                CommandError(
                    .cloudEventMalformed,
                    "of CloudEvents only single events in JSON are understood: application/cloudevents+json"))
        case nil: break
        }
        guard let event else { return }
        isEvent = true
        attributes.fill(from: event)
        do throws(EventProblem) {
            try event.checkEvent()
        } catch {
            refuse(CommandError(.cloudEventMalformed, error.message))
        }
    }

    mutating func readReply() {
        reply.trace = TraceContext(
            wellFormedIn: attributes.traceparent?.text, tracestate: attributes.tracestate?.text)
        if let correlationID = properties.correlationID {
            if correlationID.utf8.count <= 255 {
                reply.correlationID = correlationID
            } else {
                refuse(CommandError(.correlationIDTooLong, "correlation_id holds more than 255 bytes"))
            }
        }
        if let replyTo = properties.replyTo, !replyTo.isEmpty {
            if rules.allowsReply(to: replyTo) {
                reply.replyTo = replyTo
            } else {
                refuse(
                    CommandError(
                        .replyNotAllowed,
                        "reply_to \(replyTo.quoted) is no queue that answers may go to; "
                            + "use one of the allow-list, or leave it out for the results queue"))
            }
        }
        if let encoding = properties.contentEncoding, !encoding.isEmpty, !encoding.isSame(as: "identity"),
            !encoding.isSame(as: "utf-8"), !encoding.isSame(as: "utf8")
        {
            refuse(
                CommandError(
                    .contentEncodingUnsupported,
                    "content_encoding \(encoding.quoted) is not understood; send the body as plain UTF-8"))
        }
    }

    // MARK: Body

    /// The document, whatever it says; refuses what is none.
    mutating func scan(_ body: [UInt8]) -> JSONDocument? {
        guard body.count <= rules.maximumBodyBytes else {
            refuse(
                CommandError(
                    .bodyTooLarge, "the body holds \(body.count) bytes; \(rules.maximumBodyBytes) are accepted"))
            return nil
        }
        guard !body.isEmpty else {
            refuse(
                CommandError(
                    .bodyMissing, code: SalesforceCode.bodyMissing,
                    "the body is empty: send the API's JSON payload as the body"))
            return nil
        }
        do throws(JSONError) {
            return try JSONScanner(maximumDepth: rules.maximumDepth).scan(body)
        } catch {
            refuse(CommandError(.bodyMalformed, "the body is not accepted as JSON: \(error)"))
            return nil
        }
    }

    mutating func readBody() -> JSONDocument? {
        guard let document = scan(payload) else { return nil }
        guard document.root.kind == .object else {
            refuse(
                CommandError(
                    .bodyNotObject, code: SalesforceCode.parameters, "the payload must be a JSON object"))
            return nil
        }
        return document
    }

    mutating func readConversation(_ document: JSONDocument, routingKey: String) -> String? {
        guard let value = document.root["conversationIdentifier"]?.unlessNull else {
            refuse(
                CommandError(
                    .conversationMissing, code: SalesforceCode.conversationIdentifier,
                    "conversationIdentifier is missing: add it to the payload"))
            return nil
        }
        guard let text = value.string, !text.isEmpty, text.utf8.count <= 255,
            text.allBytes({ $0 >= 0x20 && $0 != 0x7F })
        else {
            refuse(
                CommandError(
                    .conversationMalformed, code: SalesforceCode.conversationIdentifier,
                    "conversationIdentifier must be a string of 1 to 255 bytes without control characters"))
            return nil
        }
        if queue.routingKeyIsConversation, !text.utf8.elementsEqual(routingKey.utf8) {
            refuse(
                CommandError(
                    .routingKeyMismatch,
                    "the routing key \(routingKey.quoted) is not the conversationIdentifier; "
                        + "publish to the exchange with the conversationIdentifier as routing key"))
        }
        return text
    }
}

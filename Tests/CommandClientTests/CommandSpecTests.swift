// Commands as people write them, and answers as platforms read them.

import AMQPMessage
import CommandClient
import RoutingContract
import Testing

@Suite struct CommandSpecTests {
    private func spec(_ line: String) throws -> CommandSpec {
        var random = SeededGenerator(seed: 1)
        return try CommandSpec(line: Array(line.utf8), using: &random)
    }

    @Test func aLineBecomesACommandWithItsPayloadUntouched() throws {
        let spec = try spec(
            #"{"command":"route","requestId":"R","org":"acme","context":"P_C","issuedAt":1700000000000,"#
                + #""correlationId":"call-1","payload":{ "conversationIdentifier" : "c" ,"b":1.0}}"#)
        #expect(String(decoding: spec.message.body, as: UTF8.self) == #"{ "conversationIdentifier" : "c" ,"b":1.0}"#)
        #expect(
            spec.message.properties.headers
                == [
                    "Command": .string("route"), "RequestId": .string("R"), "OrgId": .string("acme"),
                    "AuthorizationContext": .string("P_C"), "IssuedAt": .int64(1_700_000_000_000),
                ])
        #expect(spec.message.properties.correlationID == "call-1" && spec.message.properties.deliveryMode == 2)
        #expect(spec.requestID == "R")
    }

    @Test func aMissingRequestIdIsMadeUp() throws {
        let made = try #require(try spec(#"{"command":"delete","payload":{}}"#).requestID)
        #expect(RequestID(made) != nil)
    }

    @Test func nullIsAsGoodAsAbsent() throws {
        let line = #"{"command":"delete","payload":{},"requestId":null,"org":null,"deadline":null,"replyTo":null}"#
        let spec = try spec(line)
        #expect(RequestID(try #require(spec.requestID)) != nil && spec.message.properties.replyTo == nil)
        #expect(spec.message.properties.headers["Deadline"] == nil && spec.message.properties.headers["OrgId"] == nil)
    }

    @Test func aRawLineBecomesAnyMessage() throws {
        let spec = try spec(
            #"{"raw":{"headers":{"RequestId":"x","n":7,"flag":true},"properties":{"type":"route","userId":"u"},"body":"{"}}"#
        )
        #expect(spec.message.body == Array("{".utf8) && spec.requestID == "x")
        #expect(
            spec.message.properties.headers["n"] == .int64(7)
                && spec.message.properties.headers["flag"] == .boolean(true))
        #expect(spec.message.properties.userID == "u" && spec.message.properties.messageID == nil)
    }

    @Test(arguments: [
        ("no json", "not JSON"), ("[]", "one JSON object"), (#"{"payload":{}}"#, "\"command\" is missing"),
        (#"{"command":"route"}"#, "\"payload\" is missing"),
        (#"{"command":"route","payload":{},"orgId":"a"}"#, "unknown member \"orgId\""),
        (#"{"raw":{"header":{}}}"#, "unknown member \"header\""),
        (#"{"command":"route","payload":{},"requestId":7}"#, "\"requestId\" must be a string"),
        (#"{"command":"route","payload":{},"replyTo":["q"]}"#, "\"replyTo\" must be a string"),
        (#"{"command":"route","payload":{},"deadline":1.5}"#, "\"deadline\" must be"),
        (#"{"command":"route","payload":{},"issuedAt":{}}"#, "\"issuedAt\" must be"),
        (#"{"raw":{"body":{}}}"#, "\"body\" must be a string"),
        (#"{"raw":{"properties":{"timestamp":-1}}}"#, "\"timestamp\" must be"),
    ])
    func whatIsWrongWithALineIsSaid(line: String, message: String) throws {
        let error = try #require(throws: CommandSpecError.self) { try spec(line) }
        #expect(error.description.contains(message))
    }

    @Test func theSameSeedMakesTheSameCommands() {
        var one = CommandGenerator(seed: 7, orgs: ["acme"], mix: .init(duplicates: 0.1, malformed: 0.1, deletes: 0.2))
        var other = CommandGenerator(seed: 7, orgs: ["acme"], mix: .init(duplicates: 0.1, malformed: 0.1, deletes: 0.2))
        for _ in 0..<200 { #expect(one.next().0 == other.next().0) }
    }

    @Test func whatIsMadeUpIsWhatItWasMadeAs() {
        var generator = CommandGenerator(
            seed: 3, orgs: ["acme"], mix: .init(duplicates: 0.1, malformed: 0.1, deletes: 0.2))
        let decoder = CommandDecoder(
            rules: DecodingRules(),
            orgs: OrgDirectory([KnownOrg(id: OrgID("00D000000000001")!, alias: "acme", defaultContext: "P_C")]))
        var seen: Set<String> = []
        for _ in 0..<500 {
            let (spec, making) = generator.next()
            let decoded = decoder.decode(
                spec.message, routingKey: "", queue: QueueDefaults(), now: Timestamp(milliseconds: 1_700_000_000_000))
            switch making {
            case .malformed: #expect(throws: InvalidCommand.self) { try decoded.get() }
            case .route, .delete, .duplicate:
                guard let command = try? decoded.get() else {
                    Issue.record("\(making) is invalid: \(decoded)")
                    return
                }
                #expect(seen.insert(command.key.request.description).inserted == (making != .duplicate))
                if making != .duplicate { #expect(command.key.kind == (making == .delete ? .delete : .route)) }
            }
        }
    }

    @Test func anAnswerIsReadAsItWasWritten() throws {
        let command = RouteCommand(
            key: CommandKey(
                org: OrgID("00D000000000001")!, kind: .route,
                request: RequestID("6f1c2a3e-0d4b-4c5a-9e8f-7a6b5c4d3e2f")!),
            context: "P_C", conversation: "c", payload: [],
            fingerprint: Fingerprint(bytes: Array(repeating: 1, count: 32)),
            reply: ReplyAddress(correlationID: "call-1"), replay: 2)
        let now = Timestamp(milliseconds: 1_700_000_000_000)
        let result = CommandResult(
            outcome: .rejected, httpStatus: 400, response: APIResponse(Array("{}".utf8)),
            error: CommandError(code: 10032, message: "no such queue", reason: "queue-not-valid"), attempts: 3,
            receivedAt: now, completedAt: now, worker: "w")
        let answer = try #require(
            Answer(AnswerEncoder().encode(result, about: AnswerSubject(command), duplicate: true)))
        #expect(answer.correlationID == "call-1" && answer.requestID == command.key.request.description)
        #expect(answer.outcome == .rejected && answer.errorCode == 10032 && answer.reason == "queue-not-valid")
        #expect(answer.attempts == 3 && answer.duplicate && answer.replay == 2 && answer.httpStatus == 400)
        #expect(Answer(Message(body: Array("{}".utf8))) == nil)
    }
}

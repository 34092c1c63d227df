// Commands as CloudEvents 1.0, in binary and in structured form.

import AMQPMessage
import Foundation
import Testing

@testable import RoutingContract

@Suite struct CloudEventTests {
    private func binary(_ mark: String, _ change: [String: FieldValue] = [:]) -> Message {
        var attributes: [String: FieldValue] = [
            "specversion": .string("1.0"), "type": .string("com.example.routing.route"), "id": .string(Sample.request),
            "source": .string("/platform"), "time": .string("2026-03-01T11:59:00Z"), "orgid": .string("acme"),
            "authorizationcontext": .string("A_B"), "authorizationcontexttype": .string("T"),
            "deadline": .string("2026-03-01T12:30:00Z"), "traceparent": .string(Sample.traceparent),
        ]
        attributes.merge(change) { $1 }
        let headers = attributes.sorted { $0.key < $1.key }.map {
            FieldTable.Field("cloudEvents\(mark)\($0.key)", $0.value)
        }
        return Message(
            properties: MessageProperties(
                contentType: "application/json", headers: FieldTable(headers), messageID: "not-the-id", timestamp: 1,
                type: "not.the.type"),
            body: Array(Sample.route.utf8))
    }

    private func structured(_ members: String, contentType: String = "application/cloudevents+json") -> Message {
        let envelope =
            #"{"specversion":"1.0","type":"com.example.delete","id":"\#(Sample.request)","source":"/p","orgid":"acme","#
            + #""authorizationcontext":"A_B",\#(members)}"#
        return Message(properties: MessageProperties(contentType: contentType), body: Array(envelope.utf8))
    }

    @Test(arguments: ["_", ":"])
    func readsTheBinaryForm(_ mark: String) throws {
        let command = try Sample.decode(binary(mark)).get()
        #expect(command.key.kind == .route)
        #expect(command.key.request.description == Sample.request)
        #expect(command.key.org.description == Sample.org)
        #expect(command.context == "A_B")
        #expect(command.contextType == "T")
        #expect(command.issuedAt == Timestamp(rfc3339: "2026-03-01T11:59:00Z"))
        #expect(command.deadline == Timestamp(rfc3339: "2026-03-01T12:30:00Z"))
        #expect(command.reply.trace.traceparent == Sample.traceparent)
        #expect(command.payload == Array(Sample.route.utf8))
    }

    @Test func prefersPlainHeaders() throws {
        var message = binary("_")
        message.properties.headers["Command"] = .string("delete")
        message.properties.headers["OrgId"] = .string("other")
        message.properties.headers["RequestId"] = .string("00000000-0000-4000-8000-000000000001")
        let command = try Sample.decode(message).get()
        #expect(command.key.kind == .delete)
        #expect(command.key.org.description == "00Dxx0000000002")
        #expect(command.key.request.description == "00000000-0000-4000-8000-000000000001")
    }

    @Test(
        arguments: [
            ("specversion", .string("0.3"), "cloud-event-malformed"), ("specversion", .void, "cloud-event-malformed"),
            ("specversion", .int8(1), "cloud-event-malformed"),
            ("type", .string("com.example.routed"), "command-unknown"),
            ("type", .string("route"), "command-unknown"), ("type", .void, "command-missing"),
            ("id", .void, "request-id-missing"),
            ("id", .string("1"), "request-id-malformed"), ("time", .string("now"), "issued-at-malformed"),
            ("datacontenttype", .string("text/xml"), "cloud-event-malformed"),
            ("datacontenttype", .string("application/json; charset=utf-8"), nil),
            ("datacontenttype", .string("application/vnd.x+json"), nil), ("subject", .string("any"), nil),
        ] as [(String, FieldValue, String?)])
    func checksAttributes(_ name: String, _ value: FieldValue, _ reason: String?) {
        #expect(Sample.decode(binary("_", [name: value])).reason == reason)
    }

    @Test func forwardsDataAsItStands() throws {
        let data = #"{ "conversationIdentifier" : "\u0063" , "x":1.0 }"#
        let command = try Sample.decode(
            structured(#""time":"2026-03-01T11:59:00Z","deadline":1772366460000,"data" : \#(data) "#)
        ).get()
        #expect(String(decoding: command.payload, as: UTF8.self) == data)
        #expect(command.conversation == "c")
        #expect(command.key.kind == .delete)
        #expect(command.deadline == Timestamp(milliseconds: 1_772_366_460_000))
        // The same meaning in the plain form has the same fingerprint.
        let plain = Sample.message(
            #"{"x":1,"conversationIdentifier":"c"}"#, type: "delete", ["AuthorizationContext": .string("A_B")])
        #expect(try Sample.decode(plain).get().fingerprint == command.fingerprint)
    }

    @Test func readsBase64Data() throws {
        let encoded = Data(Sample.delete.utf8).base64EncodedString()
        let command = try Sample.decode(structured(#""data_base64":"\#(encoded)""#)).get()
        #expect(command.payload == Array(Sample.delete.utf8))
    }

    @Test(arguments: [
        ("\"data\":{},\"data_base64\":\"\"", "cloud-event-malformed"),
        ("\"data_base64\":\"a\"", "cloud-event-malformed"),
        ("\"data_base64\":\"????\"", "cloud-event-malformed"), ("\"data_base64\":5", "cloud-event-malformed"),
        ("\"x\":1", "body-missing"),
        ("\"data_base64\":\"\"", "body-missing"), ("\"data\":null", "body-not-object"),
        ("\"data\":\"{}\"", "body-not-object"),
        ("\"data\":{}", "conversation-missing"), ("\"data\":{},\"data\":{}", "body-malformed"),
        ("\"data\":{", "body-malformed"),
    ])
    func refusesEnvelopes(_ members: String, _ reason: String) {
        #expect(Sample.decode(structured(members)).reason == reason)
    }

    @Test func checksTheEnvelope() {
        func reason(_ body: String, _ contentType: String = "Application/CloudEvents+JSON ; charset=UTF-8") -> String? {
            Sample.decode(Message(properties: MessageProperties(contentType: contentType), body: Array(body.utf8)))
                .reason
        }
        #expect(reason("[]") == "cloud-event-malformed")
        #expect(reason("{}") == "cloud-event-malformed")
        #expect(reason("") == "body-missing")
        #expect(reason("{}", "application/cloudevents-batch+json") == "cloud-event-malformed")
        #expect(reason("{}", "application/cloudevents+avro") == "cloud-event-malformed")
        #expect(
            Sample.decode(
                structured("\"data\":\(Sample.delete)", contentType: "APPLICATION/cloudevents+json; charset=utf-8")
            ).reason == nil)
    }

    @Test func knowsAsMuchAsItCanOfABrokenEvent() {
        guard case .failure(let invalid) = Sample.decode(structured("\"data\":{}")) else {
            Issue.record("accepted")
            return
        }
        #expect(
            invalid.kind == .delete && invalid.request?.description == Sample.request
                && invalid.org?.description == Sample.org)
    }

    @Test func decodesBase64AsFoundationDoes() {
        var generator = SeededGenerator()
        for _ in 0..<500 {
            let bytes = (0..<Int.random(in: 0...20, using: &generator)).map { _ in
                UInt8.random(in: 0 ... .max, using: &generator)
            }
            var text = Data(bytes).base64EncodedString()
            #expect(Base64.decode(text) == bytes, "seed \(generator.seed)")
            text.removeAll { $0 == "=" }
            #expect(Base64.decode(text) == bytes, "seed \(generator.seed)")
            let url = text.replacing("+", with: "-").replacing("/", with: "_")
            #expect(Base64.decodeURL(url) == bytes, "seed \(generator.seed)")
        }
        for wrong in ["A", "AA==", "AA+A", "AA/A", "A.A"] { #expect(Base64.decodeURL(wrong) == nil, "\(wrong)") }
        for wrong in ["A", "AA=", "AAA==", "AAAA=", "A A=", "AA==AA==", "-_-_", "AAAAA"] {
            #expect(Base64.decode(wrong) == nil, "\(wrong)")
        }
    }
}

// CloudEvents that are broken, each in its own way, and what must be said of them.

import AMQPMessage
import Foundation
import RoutingContract

extension HostileStage {
    /// A valid event in binary form.
    func binaryEvent() -> Message {
        var message = Self.validRoute()
        message.properties.type = nil
        message.properties.headers = [
            "cloudEvents_specversion": .string("1.0"), "cloudEvents_type": .string("com.example.conversation.route"),
            "cloudEvents_source": .string("/platform"), "cloudEvents_id": .string(UUID().uuidString),
            "cloudEvents_orgid": .string("acme"),
        ]
        return message
    }

    /// A valid event in structured form, with members of the envelope replaced; `nil` leaves one out.
    func structuredEvent(_ changes: [String: String?] = [:]) -> Message {
        var members: [String: String?] = [
            "specversion": #""1.0""#, "type": #""com.example.conversation.route""#, "source": #""/platform""#,
            "id": "\"\(UUID().uuidString)\"", "orgid": #""acme""#,
            "data": #"{"conversationIdentifier":"\#(UUID().uuidString)","routingType":"Initial"}"#,
        ]
        members.merge(changes) { $1 }
        let text = members.compactMap { name, value in value.map { "\"\(name)\":\($0)" } }.joined(separator: ",")
        var message = Self.validRoute()
        message.properties.type = nil
        message.properties.headers = FieldTable()
        message.properties.contentType = "application/cloudevents+json; charset=utf-8"
        message.body = Array("{\(text)}".utf8)
        return message
    }

    private func event(_ name: String, _ reason: String, _ message: Message) -> HostileCase {
        HostileCase(name, reason, of: self) {
            $0 = message
            $0.properties.appID = name
            $0.properties.correlationID = name
        }
    }

    private func binary(_ name: String, _ reason: String, _ attribute: String, _ value: FieldValue?) -> HostileCase {
        var message = binaryEvent()
        message.properties.headers["cloudEvents_" + attribute] = value
        return event("binary event: " + name, reason, message)
    }

    private func structured(_ name: String, _ reason: String, _ changes: [String: String?]) -> HostileCase {
        event("structured event: " + name, reason, structuredEvent(changes))
    }

    private func envelope(_ name: String, _ reason: String, _ body: String) -> HostileCase {
        var message = structuredEvent()
        message.body = Array(body.utf8)
        return event("structured event: " + name, reason, message)
    }

    var eventCases: [HostileCase] {
        var batch = structuredEvent()
        batch.properties.contentType = "application/cloudevents-batch+json"
        var protobuf = structuredEvent()
        protobuf.properties.contentType = "application/cloudevents+protobuf"
        return [
            binary("no specversion", "cloud-event-malformed", "specversion", nil),
            binary("old specversion", "cloud-event-malformed", "specversion", .string("0.3")),
            binary("specversion number", "cloud-event-malformed", "specversion", .double(1)),
            binary("no type", "command-missing", "type", nil),
            binary("type unknown", "command-unknown", "type", .string("com.example.reroute")),
            binary("type only an ending", "command-unknown", "type", .string("route")),
            binary("type table", "command-unknown", "type", .table([:])),
            binary("no id", "request-id-missing", "id", nil),
            binary("id no UUID", "request-id-malformed", "id", .string("A234-1234-1234")),
            binary("no org", "org-missing", "orgid", nil),
            binary("time nonsense", "issued-at-malformed", "time", .string("now")),
            binary("time far ahead", "issued-in-future", "time", .string("2999-01-01T00:00:00Z")),
            binary("data XML", "cloud-event-malformed", "datacontenttype", .string("text/xml")),
            binary("data type number", "cloud-event-malformed", "datacontenttype", .int8(1)),
            binary("context with CR LF", "context-malformed", "authorizationcontext", .string("a\r\nb: c")),
            binary("deadline nonsense", "deadline-malformed", "deadline", .string("soon")),
            structured("no specversion", "cloud-event-malformed", ["specversion": nil]),
            structured("specversion number", "cloud-event-malformed", ["specversion": "1.0"]),
            structured("specversion null", "cloud-event-malformed", ["specversion": "null"]),
            structured("no type", "command-missing", ["type": nil]),
            structured("type array", "command-unknown", ["type": "[]"]),
            structured("no id", "request-id-missing", ["id": nil]),
            structured("id number", "request-id-malformed", ["id": "1"]),
            structured("no data", "body-missing", ["data": nil]),
            structured("data null", "body-not-object", ["data": "null"]),
            structured("data string", "body-not-object", ["data": #""{}""#]),
            structured("data twice", "cloud-event-malformed", ["data_base64": #""e30=""#]),
            structured("data no base64", "cloud-event-malformed", ["data": nil, "data_base64": #""e30=!""#]),
            structured("data base64 of nothing", "body-missing", ["data": nil, "data_base64": #""""#]),
            structured("data base64 of no JSON", "body-malformed", ["data": nil, "data_base64": #""/w==""#]),
            structured("data base64 number", "cloud-event-malformed", ["data": nil, "data_base64": "1"]),
            structured("data XML", "cloud-event-malformed", ["datacontenttype": #""application/xml""#]),
            envelope("no JSON", "body-malformed", "specversion=1.0"),
            envelope("empty", "body-missing", ""),
            envelope("array", "cloud-event-malformed", "[]"),
            envelope("attribute twice", "body-malformed", #"{"id":"1","\u0069d":"2"}"#),
            envelope("10,000 deep", "body-malformed", String(repeating: #"{"data":"#, count: 10_000)),
            event("batch", "cloud-event-malformed", batch),
            event("protobuf", "cloud-event-malformed", protobuf),
        ]
    }
}

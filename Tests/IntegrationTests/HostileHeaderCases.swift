// Properties and headers that are hostile by themselves: they act on a broker, or are hard to read or to write again.

import AMQPMessage
import Foundation
import RoutingContract

extension FieldTable {
    /// A field of every type that a client can send and a broker takes.
    static var everyType: FieldTable {
        [
            "void": .void, "true": .boolean(true), "false": .boolean(false), "int8": .int8(.min),
            "uint8": .uint8(.max), "int16": .int16(.min), "uint16": .uint16(.max), "int32": .int32(.min),
            "uint32": .uint32(.max), "int64": .int64(.min), "float": .float(-0.1),
            "double": .double(.leastNonzeroMagnitude), "decimal": .decimal(scale: 255, value: .max),
            "text": .string("é\u{1F600}\0\r\n"), "bytes": .bytes([0, 0xFF, 0x0D, 0x0A]), "no text": .bytes([]),
            "timestamp": .timestamp(.max >> 1), "array": .array([.void, .array([]), .table([:]), .int8(0)]),
            "table": .table(["a": .table(["": .void])]),
        ]
    }

    /// A table inside a table and so on, `depth` in all.
    static func nested(_ depth: Int) -> FieldTable {
        var table: FieldTable = ["deepest": .boolean(true)]
        for _ in 1..<depth { table = ["deeper": .table(table)] }
        return table
    }
}

extension HostileStage {
    /// Messages whose body is missing as well, so that each ends as a dead letter, of which the properties count here.
    var propertyCases: [HostileCase] {
        let broken = { (name: String, change: (inout MessageProperties) -> Void) in
            HostileCase(name, "body-missing", of: self) {
                $0.body = []
                change(&$0.properties)
            }
        }
        return [
            broken("user_id") { $0.userID = endpoint.user },
            broken("expiration") { $0.expiration = "600000" },
            broken("priority 255") { $0.priority = 255 },
            broken("not persistent") { $0.deliveryMode = 1 },
            broken("every property of 255 bytes") {
                let text = String(repeating: "é", count: 127) + "!"
                $0.contentType = text
                $0.correlationID = text
                $0.messageID = text
                $0.clusterID = text
                $0.headers["RequestId"] = .string(UUID().uuidString)
            },
            broken("every property empty") {
                $0.contentType = ""
                $0.contentEncoding = ""
                $0.replyTo = ""
                $0.messageID = ""
                $0.clusterID = ""
            },
            broken("every field type") { $0.headers.fields += FieldTable.everyType.fields },
            broken("nested 50 deep") { $0.headers["tree"] = .table(.nested(50)) },
            broken("nested 60 deep") { $0.headers["tree"] = .table(.nested(60)) },
            broken("key of 255 bytes") { $0.headers[String(repeating: "k", count: 255)] = .void },
            broken("empty key") { $0.headers[""] = .string("nameless") },
            broken("one key twice") { $0.headers.fields += [.init("k", .int8(1)), .init("k", .int8(2))] },
            broken("3,000 headers") { $0.headers.fields += (0..<3000).map { .init("h\($0)", .int32($0)) } },
            broken("header of 100 kB") { $0.headers["long"] = .string(String(repeating: "x", count: 100_000)) },
            broken("keys with CR LF") { $0.headers["X\r\nForged: 1"] = .string("\r\n\r\n") },
            broken("forged answer headers") {
                for name in ["Outcome", "reason", "ERROR", "Attempts", "OriginQueue", "Worker"] {
                    $0.headers[name] = .string("succeeded")
                }
            },
            broken("forged Original") { $0.headers["Original"] = .table(["user_id": .string("admin")]) },
            broken("Original that is no table") { $0.headers["original"] = .int64(1) },
            broken("forged broker headers") {
                $0.headers["x-death"] = .array([.table(["queue": .string("q"), "count": .int64(.max)])])
                $0.headers["X-First-Death-Queue"] = .string("q")
                $0.headers["x-delivery-count"] = .int64(.max)
            },
        ]
    }

    /// Header names that the worker must move out of the way, by case; they act when published again.
    static func isMoved(_ key: String) -> Bool {
        let key = key.lowercased()
        let own = [
            "outcome", "reason", "code", "error", "httpstatus", "attempts", "originqueue", "originexchange",
            "originroutingkey", "worker", "receivedat", "deadletteredat", "original",
        ]
        return key.isEmpty || ["cc", "bcc", "accept-duplicate"].contains(key) || key.hasPrefix("x-")
            || own.contains(key)
    }

    /// Messages that no client sends, and whether the worker can publish them again as they came.
    var rawCases: [(name: String, message: RawMessage, canBeRepublished: Bool)] {
        let app = { (name: String) in (Raw.Property.appID, Raw.short(name)) }
        let headers = { (fields: [UInt8]) in (Raw.Property.headers, Raw.long(fields)) }
        let bad: [UInt8] = [0x66, 0xFF, 0xFE]
        func raw(_ name: String, _ republished: Bool, _ properties: [(Raw.Property, [UInt8])])
            -> (name: String, message: RawMessage, canBeRepublished: Bool)
        {
            let all = properties + [app(name)]
            let sorted = all.sorted { $0.0.rawValue > $1.0.rawValue }
            return (name, RawMessage(properties: Raw.properties(sorted), body: []), republished)
        }
        func fields(_ name: String, _ republished: Bool, _ fields: [UInt8])
            -> (name: String, message: RawMessage, canBeRepublished: Bool)
        { raw(name, republished, [headers(fields)]) }

        // Most of what a frame holds: too much with what a dead letter adds, also with what the broker adds to its own.
        let enormous = Raw.field("long", "S", Raw.long(Array(repeating: 0x78, count: 130_900)))
        var cases = [
            raw("raw: no headers", true, []),
            fields("raw: empty table", true, []),
            raw("raw: content_type not UTF-8", false, [(.contentType, Raw.short(bad))]),
            raw("raw: type not UTF-8", false, [(.type, Raw.short(bad))]),
            raw("raw: correlation_id not UTF-8", false, [(.correlationID, Raw.short(bad))]),
            // Repaired, each byte becomes three.
            raw(
                "raw: correlation_id of 255 bytes not UTF-8", false,
                [(.correlationID, Raw.short(Array(repeating: 0xFF, count: 255)))]),
            raw(
                "raw: message_id of 255 bytes not UTF-8", false,
                [(.messageID, Raw.short(Array(repeating: 0xFF, count: 255)))]),
            raw("raw: reply_to not UTF-8", false, [(.replyTo, Raw.short(bad))]),
            fields("raw: key not UTF-8", false, Raw.field(bad, "V", [])),
            fields("raw: nested key not UTF-8", false, Raw.field("t", "F", Raw.long(Raw.field(bad, "V", [])))),
            fields("raw: text not UTF-8", true, Raw.field("k", "S", Raw.long(bad))),
            fields("raw: RequestId not UTF-8", true, Raw.field("RequestId", "S", Raw.long(bad))),
            fields("raw: boolean 2", true, Raw.field("k", "t", [2])),
            fields("raw: unsigned 64 bits", true, Raw.field("k", "L", Raw.integer(UInt64.max))),
            fields("raw: not a number", true, Raw.field("k", "d", Raw.integer(Double.nan.bitPattern))),
            fields("raw: infinity", true, Raw.field("k", "f", Raw.integer(Float.infinity.bitPattern))),
            fields("raw: unknown type", false, Raw.field("k", "?", [])),
            fields("raw: text longer than its table", false, Raw.field("k", "S", Raw.integer(UInt32.max) + [1])),
            fields("raw: CC no array", true, Raw.text("CC", "elsewhere")),
            fields("raw: cc in lower case", true, Raw.text("cc", "elsewhere")),
            fields("raw: headers as large as a frame", false, enormous),
        ]
        for arrays in [false, true] {
            let what = arrays ? "arrays" : "tables"
            for depth in [100, 5000, arrays ? 26_000 : 21_700] {
                cases.append(
                    fields(
                        "raw: \(depth) \(what) deep", false,
                        Raw.field("k", arrays ? "A" : "F", Raw.nested(depth, arrays: arrays))))
            }
        }
        return cases
    }
}

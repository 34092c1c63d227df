// What the contract's tests share: a generator that can be seeded, random JSON, and a command that is valid.

import AMQPMessage
import RoutingContract

extension SeededGenerator {
    /// With a seed of its own, to be printed where a test fails.
    init() { self.init(seed: UInt64.random(in: 0 ... .max)) }

    mutating func chance(_ probability: Double) -> Bool { Double.random(in: 0..<1, using: &self) < probability }
}

/// A JSON value to be spelled in many ways.
indirect enum Tree {
    case object([(String, Tree)])
    case array([Tree])
    case string(String)
    case number(digits: String, exponent: Int)
    case literal(String)

    static func random(depth: Int, using generator: inout SeededGenerator) -> Tree {
        switch Int.random(in: 0..<(depth > 0 ? 7 : 5), using: &generator) {
        case 0: return .literal(["true", "false", "null"].randomElement(using: &generator)!)
        case 1:
            let digits = String(Int.random(in: 1...99_999, using: &generator))
            return .number(digits: digits, exponent: Int.random(in: -6...6, using: &generator))
        case 2...4: return .string(text(using: &generator))
        case 5:
            return .array(
                (0..<Int.random(in: 0...4, using: &generator)).map { _ in random(depth: depth - 1, using: &generator) })
        default:
            var members: [(String, Tree)] = []
            for _ in 0..<Int.random(in: 0...6, using: &generator) {
                let key = text(using: &generator)
                guard !members.contains(where: { $0.0.utf8.elementsEqual(key.utf8) }) else { continue }
                members.append((key, random(depth: depth - 1, using: &generator)))
            }
            return .object(members)
        }
    }

    static func text(using generator: inout SeededGenerator) -> String {
        let alphabet: [Unicode.Scalar] = [
            "a", "b", "Z", "0", " ", "!", "\"", "\\", "/", "\n", "\t", "\u{8}", "\u{C}", "\r", "\u{0}", "\u{1F}",
            "\u{7F}", "é",
            "€", "\u{FFFF}", "😀", "\u{10FFFF}",
        ]
        var text = String.UnicodeScalarView()
        for _ in 0..<Int.random(in: 0...12, using: &generator) {
            text.append(alphabet.randomElement(using: &generator)!)
        }
        return String(text)
    }

    /// One of its spellings: order of keys, white space, escapes and the form of numbers are drawn.
    func spelled(using generator: inout SeededGenerator) -> String {
        let space = Self.space(using: &generator)
        switch self {
        case .literal(let text): return space + text + space
        case .number(let digits, let exponent): return space + Self.number(digits, exponent, using: &generator) + space
        case .string(let text): return space + Self.string(text, using: &generator) + space
        case .array(let values):
            return space + "[" + space + values.map { $0.spelled(using: &generator) }.joined(separator: ",") + "]"
        case .object(let members):
            let spelled = members.shuffled(using: &generator).map {
                space + Self.string($0.0, using: &generator) + space + ":" + $0.1.spelled(using: &generator)
            }
            return space + "{" + space + spelled.joined(separator: ",") + "}" + space
        }
    }

    private static func space(using generator: inout SeededGenerator) -> String {
        generator.chance(0.7) ? "" : ["\n", " ", "\t \r\n"].randomElement(using: &generator)!
    }

    private static func number(_ digits: String, _ exponent: Int, using generator: inout SeededGenerator) -> String {
        // digits × 10^exponent, with the point moved `shift` places to the left.
        let shift = Int.random(in: 0...(digits.count - 1), using: &generator)
        let fraction =
            String(digits.suffix(shift)) + String(repeating: "0", count: Int.random(in: 0...2, using: &generator))
        let power = exponent + shift
        return digits.dropLast(shift) + (fraction.isEmpty ? "" : ".\(fraction)")
            + (power == 0 && generator.chance(0.5)
                ? ""
                : ["e", "E"].randomElement(using: &generator)! + (power >= 0 && generator.chance(0.5) ? "+" : "")
                    + "\(power)")
    }

    private static func string(_ text: String, using generator: inout SeededGenerator) -> String {
        var output = "\""
        for scalar in text.unicodeScalars {
            let short: [Unicode.Scalar: String] = [
                "\"": "\\\"", "\\": "\\\\", "/": "\\/", "\n": "\\n", "\t": "\\t", "\r": "\\r", "\u{8}": "\\b",
                "\u{C}": "\\f",
            ]
            let mustEscape = scalar.value < 0x20 || scalar == "\"" || scalar == "\\"
            if let short = short[scalar], generator.chance(0.5) {
                output += short
            } else if mustEscape || generator.chance(0.2) {
                for unit in String(scalar).utf16 {
                    let digits = String(unit, radix: 16, uppercase: generator.chance(0.5))
                    output += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
                }
            } else {
                output.unicodeScalars.append(scalar)
            }
        }
        return output + "\""
    }
}

/// A valid command and what surrounds it, to be changed in one place per test.
enum Sample {
    static let now = Timestamp(rfc3339: "2026-03-01T12:00:00Z")!
    static let org = "00Dxx0000001gPL"
    static let request = "3f6c2b1e-8d4a-4f57-9a61-0b2c7d9e1f30"
    static let conversation = "7b1c9c2e-1111-4222-8333-444455556666"
    static let route = #"{"conversationIdentifier":"\#(conversation)","routingType":"Initial"}"#
    static let delete = #"{"conversationIdentifier":"\#(conversation)"}"#
    static let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

    static func directory(_ validation: KnownOrg.Validation = .lenient, context: String? = nil) -> OrgDirectory {
        OrgDirectory([
            KnownOrg(id: OrgID(org)!, alias: "acme", defaultContext: context, validation: validation),
            KnownOrg(id: OrgID("00Dxx0000000002")!, alias: "other", defaultContext: "Other_Channel"),
        ])
    }

    static func message(_ body: String = route, type: String? = "route", _ extra: FieldTable = FieldTable()) -> Message
    {
        var headers: FieldTable = [
            "RequestId": .string(request), "OrgId": .string(org), "AuthorizationContext": .string("Partner1_Channel1"),
        ]
        for field in extra.fields { headers[field.key] = field.value }
        return Message(properties: MessageProperties(headers: headers, type: type), body: Array(body.utf8))
    }

    static func decode(
        _ message: Message, rules: DecodingRules = DecodingRules(), orgs: OrgDirectory = directory(),
        queue: QueueDefaults = QueueDefaults(), routingKey: String = "routing.commands"
    ) -> Result<RouteCommand, InvalidCommand> {
        CommandDecoder(rules: rules, orgs: orgs).decode(message, routingKey: routingKey, queue: queue, now: now)
    }
}

extension Result where Success == RouteCommand, Failure == InvalidCommand {
    var reason: String? {
        if case .failure(let invalid) = self { invalid.error.reason } else { nil }
    }
}

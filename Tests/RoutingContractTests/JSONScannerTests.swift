// The JSON scanner: what it accepts and refuses, where it says the fault is, and its canonical form.

import Testing

@testable import RoutingContract

@Suite struct JSONScannerTests {
    private func scan(_ text: String, depth: Int = 64) throws(JSONError) -> JSONDocument {
        try JSONScanner(maximumDepth: depth).scan(Array(text.utf8))
    }

    private func error(_ bytes: [UInt8], depth: Int = 64) -> JSONError? {
        do throws(JSONError) {
            _ = try JSONScanner(maximumDepth: depth).scan(bytes)
            return nil
        } catch {
            return error
        }
    }

    private func error(_ text: String) -> JSONError? { error(Array(text.utf8)) }

    @Test(arguments: [
        ("{}", "{}"), (" [ ] ", "[]"), ("\t\n\r null ", "null"), (" \"a\" ", "\"a\""), ("[1 , 2]", "[1,2]"),
        (#"{"b":1,"a":2}"#, #"{"a":2,"b":1}"#),
        (#"{"b":{"d":1,"c":[{"z":0,"y":0}]},"a":2}"#, #"{"a":2,"b":{"c":[{"y":0,"z":0}],"d":1}}"#),
        (#"{ "a" : { } , "A" : [ ] }"#, #"{"A":[],"a":{}}"#),
        // A key before the keys that it begins, whatever follows.
        (#"{"a!":1,"a ":2,"a":3,"":4,"ab":5}"#, #"{"":4,"a":3,"a ":2,"a!":1,"ab":5}"#),
        // Escapes.
        (#""\u0041\/\u00e9\u20AC\uD83D\ude00""#, "\"A/é€😀\""), (#""\u0000\u001f\u007f""#, "\"\\u0000\\u001f\u{7F}\""),
        (#""\u0022\u005c\u0008\u0009\u000a\u000c\u000D""#, #""\"\\\b\t\n\f\r""#),
        // Keys are compared after unescaping.
        (#"{"\u0062":1,"a":2}"#, #"{"a":2,"b":1}"#),
        // Numbers: exact decimals.
        ("1", "1"), ("1.0", "1"), ("1e0", "1"), ("10e-1", "1"), ("0.1E+1", "1"), ("-0", "0"), ("-0.0e9", "0"),
        ("0e99999999999", "0"),
        ("100", "100"), ("1e2", "100"), ("1.50", "15e-1"), ("15E-1", "15e-1"), ("-0.00120", "-12e-4"),
        ("10000000000000000000", "10000000000000000000"), ("1e19", "10000000000000000000"),
        ("100000000000000000000", "1e20"), ("1e20", "1e20"), ("123456789012345678901", "123456789012345678901"),
        ("123456789012345678901.0", "123456789012345678901"), ("1e400", "1e400"), ("1e999999999", "1e999999999"),
        ("1E9999999999", "1E9999999999"), ("0.10000000000000000001", "10000000000000000001e-20"),
        ("1e0000000000001", "10"),
    ])
    func writesTheCanonicalForm(_ text: String, _ canonical: String) throws {
        #expect(String(decoding: try scan(text).canonical, as: UTF8.self) == canonical)
    }

    @Test(arguments: [
        ("", JSONError.Problem.empty, 0), (" \n", .empty, 2), ("{", .endsEarly, 1), ("[1,", .endsEarly, 3),
        ("[1", .endsEarly, 2),
        (#"{"a""#, .endsEarly, 4), (#"{"a":"#, .endsEarly, 5), (#""abc"#, .endsEarly, 4), (#""abc\"#, .endsEarly, 5),
        (#""\u12"#, .endsEarly, 5), ("-", .endsEarly, 1), ("1.", .endsEarly, 2), ("1e", .endsEarly, 2),
        ("1e+", .endsEarly, 3),
        ("tru", .endsEarly, 3), ("[1,]", .valueExpected, 3), ("[,]", .valueExpected, 1), ("trux", .valueExpected, 0),
        ("NaN", .valueExpected, 0), ("+1", .valueExpected, 0), (".5", .valueExpected, 0), ("'a'", .valueExpected, 0),
        ("// c", .valueExpected, 0), ("}", .valueExpected, 0), ("{1:2}", .keyExpected, 1), ("{,}", .keyExpected, 1),
        (#"{"a":1,}"#, .keyExpected, 7), (#"{"a" 1}"#, .colonExpected, 5),
        (#"{"a":1 "b":2}"#, .objectSeparatorExpected, 7),
        (#"{"a":1]"#, .objectSeparatorExpected, 6), ("[1 2]", .arraySeparatorExpected, 3),
        ("[1}", .arraySeparatorExpected, 2),
        ("{}{}", .endExpected, 2), ("1 2", .endExpected, 2), ("nullx", .endExpected, 4), ("01", .malformedNumber, 0),
        ("-01", .malformedNumber, 1), ("-a", .malformedNumber, 1), ("1.a", .malformedNumber, 2),
        ("1.e5", .malformedNumber, 2),
        ("[1e]", .malformedNumber, 3), ("0x1", .endExpected, 1), ("\"a\nb\"", .controlCharacter, 2),
        ("\"\u{0}\"", .controlCharacter, 1),
        (#""\a""#, .malformedEscape, 1), (#""\u00g0""#, .malformedEscape, 1), (#""\ud83d"#, .endsEarly, 7),
        (#""\ud83d\u00"#, .endsEarly, 11), (#""\ud83dx""#, .loneSurrogate, 1),
        (#""\ud83dxyz""#, .loneSurrogate, 1), (#""\ud83d\n ""#, .loneSurrogate, 1), (#""\ude00""#, .loneSurrogate, 1),
        (#""\ud83d\u0041""#, .loneSurrogate, 1), (#""\ud83d\ud83d""#, .loneSurrogate, 1),
        (#"{"a":1,"a":1}"#, .duplicateKey, 7),
        (#"{"b":0,"a":1,"\u0061":1}"#, .duplicateKey, 13), (#"{"x":{"a":1,"b":2,"a":3}}"#, .duplicateKey, 18),
        ("\u{FEFF}{}", .byteOrderMark, 0), ("{}\u{FEFF}", .endExpected, 2),
    ])
    func refuses(_ text: String, _ problem: JSONError.Problem, at offset: Int) {
        #expect(error(text) == JSONError(problem, at: offset))
    }

    @Test(
        arguments: [
            [0x80], [0xBF], [0xC0, 0xAF], [0xC1, 0xBF], [0xC2], [0xC2, 0x22], [0xE0, 0x9F, 0xBF], [0xE2, 0x82],
            [0xED, 0xA0, 0x80],
            [0xED, 0xBF, 0xBF], [0xF0, 0x8F, 0xBF, 0xBF], [0xF0, 0x9F, 0x98], [0xF4, 0x90, 0x80, 0x80],
            [0xF5, 0x80, 0x80, 0x80],
            [0xFE], [0xFF], [0xE2, 0x28, 0xA1], [0xE2, 0x82, 0x28],
        ] as [[UInt8]])
    func refusesMalformedUTF8(_ bytes: [UInt8]) {
        #expect(error([0x22, 0x61] + bytes + [0x22]) == JSONError(.malformedUTF8, at: 2))
        #expect(error([0x22] + Array("0123456789".utf8) + bytes)?.problem == .malformedUTF8)
    }

    @Test func boundsDepthWithoutRecursion() {
        for opening in ["[", #"{"a":"#] {
            let closing = opening == "[" ? "]" : "}"
            func nested(_ depth: Int) -> [UInt8] {
                Array(
                    (String(repeating: opening, count: depth) + (opening == "[" ? "" : "1")
                        + String(repeating: closing, count: depth)).utf8)
            }
            #expect(error(nested(64)) == nil)
            #expect(error(nested(65)) == JSONError(.tooDeep, at: 64 * opening.utf8.count))
            #expect(error(nested(10_000)) == JSONError(.tooDeep, at: 64 * opening.utf8.count))
            // Where the caller allows it, even this depth is only a matter of memory.
            #expect(error(nested(100_000), depth: 100_000) == nil)
        }
        #expect(error(Array("1".utf8), depth: 0) == nil)
        #expect(error(Array("[]".utf8), depth: 0)?.problem == .tooDeep)
    }

    @Test func looksUpOuterMembers() throws {
        let document = try scan(
            #"{"a":{"b":{"c":"\u0064e","n":-12,"t":true,"deep":{"x":1}},"a":null},"\u0062":[{"c":1}],"c":2.5,"s":"é"}"#)
        let root = document.root
        #expect(root["a"]?["b"]?["c"]?.string == "de")
        #expect(root["a"]?["b"]?["n"]?.integer == -12)
        #expect(root["a"]?["b"]?["t"]?.boolean == true)
        #expect(root["a"]?["a"]?.kind == .null)
        #expect(root["a"]?["c"] == nil)
        #expect(root["b"]?.kind == .array)
        #expect(root["b"].map { String(decoding: $0.bytes, as: UTF8.self) } == #"[{"c":1}]"#)
        #expect(root["c"]?.integer == nil)
        #expect(root["s"]?.string == "é")
        #expect(root["n"] == nil)
        // Noted three deep, no further.
        #expect(root["a"]?["b"]?["deep"]?.kind == .object)
        #expect(root["a"]?["b"]?["deep"]?["x"] == nil)
        var names: [String] = []
        root.forEachMember { name, value in
            names.append(name)
            return name != "c"
        }
        #expect(names == ["a", "b", "c"])
        #expect(try scan(#""text""#).root.string == "text")
        #expect(try scan(#""te\u0078t""#).root.string == "text")
        #expect(try scan(" [1] ").root.range == 1..<4)
        #expect(try scan(" 17 ").root.integer == 17)
    }

    @Test func doesWorkInProportionToTheDocument() throws {
        /// Keys in an order that is far from sorted.
        func work(keys count: Int) throws -> Int {
            let members = (0..<count).map { "\"key\(($0 &* 7_919) % 1_000_003)\":\($0)" }
            return try scan("{\(members.joined(separator: ","))}").work
        }
        let (small, large) = (try work(keys: 1000), try work(keys: 100_000))
        // n log n: a hundred times the keys, and less than twice the comparisons for each.
        #expect(large < small * 200)
        #expect(error("{" + (0..<100_000).map { "\"\($0)\":0," }.joined() + "\"0\":0}")?.problem == .duplicateKey)

        /// The worst that order can do: every level moves all that is inside it.
        func work(depth: Int) throws -> Int {
            let text = String(repeating: #"{"b":"#, count: depth) + "0" + String(repeating: #","a":0}"#, count: depth)
            return try scan(text, depth: depth).work
        }
        #expect(try work(depth: 64) < 64 * 64 * 12)
        // Keys with a long beginning in common.
        let prefix = String(repeating: "p", count: 1000)
        let alike = try scan(
            "{" + (0..<250).reversed().map { "\"\(prefix)\(1000 + $0)\":0" }.joined(separator: ",") + "}")
        #expect(alike.work < 250 * 1010 + 250 * 12)
    }
}

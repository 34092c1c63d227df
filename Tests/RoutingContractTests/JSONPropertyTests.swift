// The JSON scanner against random documents, and against Foundation's reader as a second opinion.

import Foundation
import Testing

@testable import RoutingContract

@Suite struct JSONPropertyTests {
    private let scanner = JSONScanner()

    @Test func canonicalFormDoesNotDependOnSpelling() throws {
        var generator = SeededGenerator()
        for round in 0..<1500 {
            let tree = Tree.random(depth: 4, using: &generator)
            let (one, other) = (tree.spelled(using: &generator), tree.spelled(using: &generator))
            let (first, second) = (try scanner.scan(Array(one.utf8)), try scanner.scan(Array(other.utf8)))
            #expect(first.canonical == second.canonical, "seed \(generator.seed), round \(round): \(one) / \(other)")
            // It is JSON itself, and its own canonical form.
            #expect(try scanner.scan(first.canonical).canonical == first.canonical, "seed \(generator.seed): \(one)")
            #expect(first.canonical.count <= one.utf8.count * 4, "seed \(generator.seed)")
        }
    }

    @Test func canonicalFormsDifferWhereValuesDo() throws {
        var generator = SeededGenerator()
        for _ in 0..<1500 {
            let (one, other) = (
                Tree.random(depth: 2, using: &generator).spelled(using: &generator),
                Tree.random(depth: 2, using: &generator).spelled(using: &generator)
            )
            let (first, second) = (try scanner.scan(Array(one.utf8)), try scanner.scan(Array(other.utf8)))
            let areEqual = try foundationValue(one) == foundationValue(other)
            #expect((first.canonical == second.canonical) == areEqual, "seed \(generator.seed): \(one) / \(other)")
        }
    }

    /// Foundation's reader accepts more in known places; what it refuses must be refused here too, and what is refused
    /// here it must refuse or the reason must be one of those.
    @Test func acceptsWhatFoundationAccepts() {
        var generator = SeededGenerator()
        let seedDocuments: [String] = [
            Sample.route, #"{"a":[1,-2.5e3,"x\n\u00e9",true,false,null,{}],"b":{"c":"é😀","d":[[]]}}"#,
        ]
        var (accepted, refused) = (0, 0)
        for round in 0..<6000 {
            var bytes = Array(
                (round % 3 == 0
                    ? Tree.random(depth: 3, using: &generator).spelled(using: &generator)
                    : seedDocuments[round % 3 - 1])
                    .utf8)
            if generator.chance(0.9) { mutate(&bytes, using: &generator) }
            let foundationAccepts =
                (try? JSONSerialization.jsonObject(with: Data(bytes), options: .fragmentsAllowed)) != nil
            do throws(JSONError) {
                _ = try scanner.scan(bytes)
                accepted += 1
                // Foundation refuses what does not fit a Double.
                let isOutsideDouble = String(decoding: bytes, as: UTF8.self).contains(/[eE][+-]?\d{3}/)
                #expect(
                    foundationAccepts || isOutsideDouble,
                    "seed \(generator.seed), round \(round): \(String(decoding: bytes, as: UTF8.self)) \(bytes)")
            } catch {
                refused += 1
                let isKnownDifference = [.duplicateKey, .byteOrderMark, .loneSurrogate].contains(error.problem)
                // Foundation reads over a comma before a closing mark.
                let isTrailingComma =
                    [.keyExpected, .valueExpected].contains(error.problem) && error.offset < bytes.count
                    && [UInt8(ascii: "}"), UInt8(ascii: "]")].contains(bytes[error.offset])
                // Foundation guesses UTF-16 and UTF-32 from zero bytes near the start.
                let mayBeOtherEncoding =
                    bytes.prefix(4).contains(0) || bytes.starts(with: [0xFF, 0xFE]) || bytes.starts(with: [0xFE, 0xFF])
                #expect(
                    !foundationAccepts || isKnownDifference || isTrailingComma || mayBeOtherEncoding,
                    "seed \(generator.seed), round \(round): \(error) in \(String(decoding: bytes, as: UTF8.self)) \(bytes)"
                )
                #expect((0...bytes.count).contains(error.offset))
            }
        }
        #expect(accepted > 300 && refused > 300)
    }

    @Test func readsTextsAsFoundationDoes() throws {
        var generator = SeededGenerator()
        for _ in 0..<500 {
            let text = Tree.text(using: &generator)
            let spelled = Tree.object([("key", .string(text))]).spelled(using: &generator)
            let value = try scanner.scan(Array(spelled.utf8)).root["key"]?.string
            #expect(value.map { Array($0.utf8) } == Array(text.utf8), "seed \(generator.seed): \(spelled)")
            let foundation = try JSONSerialization.jsonObject(with: Data(spelled.utf8)) as? [String: String]
            #expect(foundation?["key"].map { Array($0.utf8) } == Array(text.utf8), "seed \(generator.seed): \(spelled)")
        }
    }

    @Test func writerAndScannerAgree() throws {
        var generator = SeededGenerator()
        for _ in 0..<300 {
            let text = Tree.text(using: &generator)
            var writer = JSONWriter(capacity: 64)
            writer.object { json in
                json.field("text", text)
                json.field("number", -17)
                json.object("inner") { $0.field("flag", true) }
                json.null("none")
            }
            let root = try scanner.scan(writer.bytes).root
            #expect(root["text"]?.string.map { Array($0.utf8) } == Array(text.utf8), "seed \(generator.seed)")
            #expect(root["number"]?.integer == -17)
            #expect(root["inner"]?["flag"]?.boolean == true)
            #expect(root["none"]?.kind == .null)
        }
    }

    /// Nothing but an error or a document may come of any bytes. The corpus is what once was hard for readers of JSON.
    @Test func survivesAnyBytes() {
        var generator = SeededGenerator()
        let corpus: [[UInt8]] = [
            Array(Sample.route.utf8), Array(#"{"":{"":[{"":"\uD83D\uDE00"}]}}"#.utf8),
            Array("[1e1000000000000000000000]".utf8),
            Array(#"["\\\\\"\u0000"]"#.utf8), Array(repeating: 0x5B, count: 200), Array(repeating: 0x22, count: 33),
            [0xEF, 0xBB],
            [0xF0, 0x9F, 0x98, 0x80], Array("-0.0e-0".utf8), Array(#"{"a":{"b":{"c":{"d":{"e":1}}}}}"#.utf8),
        ]
        for round in 0..<4000 {
            var bytes = corpus[round % corpus.count]
            for _ in 0..<Int.random(in: 0...4, using: &generator) { mutate(&bytes, using: &generator) }
            guard let document = try? scanner.scan(bytes) else { continue }
            #expect(
                (try? scanner.scan(document.canonical))?.canonical == document.canonical,
                "seed \(generator.seed): \(bytes)")
            document.root.forEachMember { _, value in value.range.upperBound <= bytes.count }
        }
    }

    private func foundationValue(_ text: String) throws -> NSObject {
        try #require(JSONSerialization.jsonObject(with: Data(text.utf8), options: .fragmentsAllowed) as? NSObject)
    }
}

/// Changes a few bytes: replaced, removed, doubled, cut off, swapped for marks of JSON.
func mutate(_ bytes: inout [UInt8], using generator: inout SeededGenerator) {
    guard !bytes.isEmpty else { return }
    let marks = Array("{}[]\",:\\u0eE+-.tfn \n".utf8) + [0x00, 0x1F, 0x7F, 0x80, 0xC0, 0xE2, 0xED, 0xF4, 0xFF]
    let position = Int.random(in: 0..<bytes.count, using: &generator)
    switch Int.random(in: 0..<6, using: &generator) {
    case 0: bytes[position] = UInt8.random(in: 0 ... .max, using: &generator)
    case 1: bytes[position] = marks.randomElement(using: &generator)!
    case 2: bytes.remove(at: position)
    case 3: bytes.insert(marks.randomElement(using: &generator)!, at: position)
    case 4: bytes.removeSubrange(position...)
    default: bytes.insert(contentsOf: bytes[position...].prefix(8), at: position)
    }
}

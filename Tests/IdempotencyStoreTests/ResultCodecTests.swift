// Results survive the way into bytes and back; bytes that are none are refused.

import IdempotencyStore
import RoutingContract
import Testing

@Suite struct ResultCodecTests {
    @Test(arguments: [UInt64.random(in: .min ... .max), 1, 2])
    func everyResultComesBack(seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        for round in 0..<500 {
            let result = randomResult(&generator)
            let decoded = try ResultCodec.decode(ResultCodec.encode(result))
            #expect(decoded == result, "seed \(seed), round \(round)")
        }
    }

    @Test(arguments: [UInt64.random(in: .min ... .max), 3])
    func damagedBytesAreRefusedOrReadButNeverTrap(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        for round in 0..<500 {
            var bytes = ResultCodec.encode(randomResult(&generator))
            let cut = Int.random(in: 0..<bytes.count, using: &generator)
            #expect(throws: StoreError.self, "seed \(seed), round \(round), cut at \(cut)") {
                try ResultCodec.decode(Array(bytes[..<cut]))
            }
            #expect(throws: StoreError.self) { try ResultCodec.decode(bytes + [0]) }
            for _ in 0..<3 {
                let index = Int.random(in: 1..<bytes.count, using: &generator)
                bytes[index] = .random(in: .min ... .max, using: &generator)
            }
            _ = try? ResultCodec.decode(bytes)
        }
    }

    @Test func aLaterFormatIsRefusedWithAWordOnWhatToDo() {
        var bytes = ResultCodec.encode(result(.succeeded))
        bytes[0] = 2
        #expect {
            try ResultCodec.decode(bytes)
        } throws: { error in
            guard case .unusable(let why) = error as? StoreError else { return false }
            return why.contains("format 2") && why.contains("newer version")
        }
    }

    @Test func thisFormatIsFrozen() throws {
        // Written by the first version; every later one must read it.
        let bytes: [UInt8] = [
            1, 2, 15, 6, 200, 1, 144, 3, 2, 119, 160, 6, 176, 156, 1, 2, 114, 2, 109, 4, 123, 125,
        ]
        let expected = CommandResult(
            outcome: .rejected, httpStatus: 400, response: APIResponse(Array("{}".utf8)),
            error: CommandError(code: 10008, message: "m", reason: "r"), attempts: 3,
            receivedAt: Timestamp(milliseconds: 100), completedAt: Timestamp(milliseconds: 200), worker: "w")
        #expect(try ResultCodec.decode(bytes) == expected)
        #expect(ResultCodec.encode(expected) == bytes)
    }

    private func randomResult(_ generator: inout SeededGenerator) -> CommandResult {
        func text() -> String {
            let alphabet: [Character] = ["a", "0", "\"", "\0", "\n", "ß", "漢", "🚀", "e\u{301}"]
            return String(
                (0..<Int.random(in: 0..<20, using: &generator)).map { _ in
                    alphabet.randomElement(using: &generator) ?? "a"
                })
        }
        func number() -> Int {
            switch Int.random(in: 0..<4, using: &generator) {
            case 0: 0
            case 1: Int.random(in: -300...300, using: &generator)
            case 2: [Int.max, .min].randomElement(using: &generator) ?? 0
            default: Int.random(in: .min ... .max, using: &generator)
            }
        }
        var result = CommandResult(
            outcome: Outcome.allCases.randomElement(using: &generator) ?? .succeeded, attempts: number(),
            receivedAt: Timestamp(milliseconds: Int64(number())), completedAt: Timestamp(milliseconds: Int64(number())),
            worker: text())
        if Bool.random(using: &generator) { result.httpStatus = number() }
        if Bool.random(using: &generator) {
            let count = Int.random(in: 0..<300, using: &generator)
            result.response = APIResponse((0..<count).map { _ in UInt8.random(in: .min ... .max, using: &generator) })
        }
        if Bool.random(using: &generator) {
            let code = Bool.random(using: &generator) ? number() : nil
            result.error = CommandError(code: code, message: text(), reason: text())
        }
        return result
    }
}

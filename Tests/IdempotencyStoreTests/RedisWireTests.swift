// What goes over the wire to Redis and comes back, in whatever pieces.

import IdempotencyStore
import NIOCore
import RoutingContract
import Testing

@testable import RedisIdempotencyStore

@Suite struct RedisWireTests {
    private func replies(_ pieces: [String]) throws -> [RedisReply] {
        var reader = RedisReader()
        var replies: [RedisReply] = []
        for piece in pieces {
            reader.append(ByteBuffer(string: piece))
            while let reply = try reader.next() { replies.append(reply) }
        }
        return replies
    }

    @Test func aPipelineIsWrittenAsArraysOfStrings() {
        var pipeline = RedisPipeline()
        pipeline.append("AUTH", "u", "påss")
        pipeline.command("MGET", arguments: 2)
        pipeline.argument(Array("a".utf8), Array("bc".utf8))
        pipeline.argument([])
        #expect(pipeline.count == 2)
        #expect(
            String(decoding: pipeline.bytes, as: UTF8.self)
                == "*3\r\n$4\r\nAUTH\r\n$1\r\nu\r\n$5\r\npåss\r\n*3\r\n$4\r\nMGET\r\n$3\r\nabc\r\n$0\r\n\r\n")
    }

    @Test(arguments: [0, 7, 10, 99, 100, -1, -120, .max, .min] as [Int64])
    func numbersAreWrittenAsDigits(_ number: Int64) {
        var bytes = Array("x".utf8)
        bytes.append(decimal: number)
        #expect(String(decoding: bytes, as: UTF8.self) == "x\(number)")
    }

    @Test func everyKindOfReplyIsRead() throws {
        let text =
            ":-7\r\n+OK\r\n-ERR no\r\n$-1\r\n*-1\r\n$0\r\n\r\n$4\r\na\r\nb\r\n*3\r\n$1\r\nx\r\n$-1\r\n*1\r\n:2\r\n*0\r\n"
        let expected: [RedisReply] = [
            .integer(-7), .bytes(Array("OK".utf8)), .error("ERR no"), .none, .none, .bytes([]),
            .bytes(Array("a\r\nb".utf8)), .array([.bytes(Array("x".utf8)), .none, .array([.integer(2)])]), .array([]),
        ]
        #expect(try replies([text]) == expected)
        #expect(try replies(text.unicodeScalars.map { String($0) }) == expected)
        for cut in 1..<text.utf8.count {
            let bytes = Array(text.utf8)
            let halves = [bytes[..<cut], bytes[cut...]].map { String(decoding: $0, as: UTF8.self) }
            #expect(try replies(halves) == expected, "cut at \(cut)")
        }
    }

    @Test(arguments: [
        "\r\n", "x\r\n", ":\r\n", ":1x\r\n", ":1234567890123456789\r\n", "$-2\r\n", "$1\r\nab\r\n", "$999999999999\r\n",
        "*-2\r\n", "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n", "HTTP/1.1 400 Bad Request\r\n",
    ])
    func whatRedisNeverSaysIsAnError(_ text: String) {
        #expect(throws: RedisReader.Violation.self) { try replies([text]) }
    }

    /// Whatever a byte of a value is changed to, reading it returns a command or why there is none.
    @Test func aDamagedValueNeverTraps() {
        let seed = UInt64.random(in: .min ... .max)
        print("seed \(seed)")
        var generator = SeededGenerator(seed: seed)
        let record = CommandRecord(
            fingerprint: fingerprint(7), state: .released(before: nil), token: 1, attempts: 0,
            mayHaveTakenEffect: false, replay: 0, nonce: nil, worker: "w", keepUntil: start,
            history: CommandHistory(bytes: Array("a;b<c;<".utf8)))
        var value: [UInt8] = []
        RedisValues.encode(record, to: &value)
        #expect(RedisValues.command(value).record == record)
        let signs = Array("0;<,1".utf8)
        for _ in 0..<2000 {
            var damaged = value
            for _ in 0..<3 {
                let index = Int.random(in: damaged.indices, using: &generator)
                damaged[index] = signs[Int.random(in: signs.indices, using: &generator)]
            }
            let command = RedisValues.command(damaged)
            #expect((command.record == nil) == (command.problem != nil))
        }
    }

    /// A length alone costs no memory: what it announces has to come first.
    @Test func whatIsOnlyAnnouncedIsWaitedFor() throws {
        #expect(try replies(["*100000000\r\n:1\r\n", "$500000000\r\nabc"]) == [])
    }
}

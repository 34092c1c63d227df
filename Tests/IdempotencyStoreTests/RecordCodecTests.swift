// The bytes in which PostgreSQL and Redis keep a command.

import IdempotencyStore
import RoutingContract
import Testing

@Suite struct RecordCodecTests {
    private static let ending = CommandRecord.Ending(result: result(.rejected, attempts: 3, reason: "r"), replay: 2)

    private static let records: [CommandRecord] = [
        .claimed(until: start, before: nil), .claimed(until: Timestamp(milliseconds: .min), before: ending),
        .released(before: nil), .released(before: ending), .completed(ending),
    ].flatMap { (state: CommandRecord.State) in
        [nil, 0, UInt64.max].map { nonce in
            CommandRecord(
                fingerprint: fingerprint(7), state: state, token: .max, attempts: 5,
                mayHaveTakenEffect: nonce == nil, replay: 9, nonce: nonce, worker: "wörker",
                keepUntil: Timestamp(milliseconds: .max))
        }
    }

    @Test(arguments: records.indices)
    func everyRecordComesBackWhole(_ index: Int) throws {
        #expect(try RecordCodec.decode(RecordCodec.encode(Self.records[index])[...]) == Self.records[index])
    }

    @Test(arguments: records.indices)
    func bytesCutShortOrTooLongAreRefused(_ index: Int) {
        let record = Self.records[index]
        let bytes = RecordCodec.encode(record)
        for count in 0..<bytes.count {
            #expect(throws: StoreError.self) { try RecordCodec.decode(bytes.prefix(count)) }
        }
        #expect(throws: StoreError.self) { try RecordCodec.decode((bytes + [0])[...]) }
    }

    @Test func anotherFormatIsNamed() {
        let error = #expect(throws: StoreError.self) { try RecordCodec.decode([2, 1]) }
        #expect("\(error.map { "\($0)" } ?? "")".contains("format 2, this version reads format 1"))
    }

    /// Whatever a byte is changed to, decoding returns or throws.
    @Test func damageNeverTraps() {
        let seed = UInt64.random(in: .min ... .max)
        print("seed \(seed)")
        var generator = SeededGenerator(seed: seed)
        for record in Self.records {
            for _ in 0..<500 {
                var bytes = RecordCodec.encode(record)
                let index = Int.random(in: bytes.indices, using: &generator)
                bytes[index] = .random(in: .min ... .max, using: &generator)
                _ = try? RecordCodec.decode(bytes[...])
            }
        }
    }
}

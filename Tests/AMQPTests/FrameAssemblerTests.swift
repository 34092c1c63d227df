// Transcripts of the frame assembler: frames in, actions out.
import AMQPMessage
import RoutingContract
import Testing

@testable import AMQP

@Suite struct FrameAssemblerTests {
    private let deliver = IncomingMethod.deliver(tag: 1, redelivered: false, exchange: "e", routingKey: "k")
    /// Flags of content type alone, and its value.
    private let properties: [UInt8] = [0x80, 0x00, 1, UInt8(ascii: "t")]

    private func content(_ body: [UInt8], skipped: UInt64? = nil) -> AssemblerAction {
        .content(
            Content(
                method: deliver, message: Message(properties: MessageProperties(contentType: "t"), body: body),
                isComplete: true, skippedBodyBytes: skipped))
    }

    private func isViolation(_ action: AssemblerAction) -> Bool {
        if case .violation = action { true } else { false }
    }

    @Test func emptyBodyHasNoBodyFrame() {
        var assembler = FrameAssembler(bodyLimit: 100)
        #expect(assembler.method(deliver) == .none)
        #expect(properties.withUnsafeBytes { assembler.header(bodySize: 0, properties: $0) } == content([]))
        #expect(assembler.method(deliver) == .none)
    }

    @Test func bodyComesInPieces() {
        var assembler = FrameAssembler(bodyLimit: 100)
        #expect(assembler.method(deliver) == .none)
        #expect(properties.withUnsafeBytes { assembler.header(bodySize: 5, properties: $0) } == .none)
        #expect([UInt8]([1, 2]).withUnsafeBytes { assembler.body($0) } == .none)
        #expect([UInt8]([]).withUnsafeBytes { assembler.body($0) } == .none)
        #expect([UInt8]([3, 4, 5]).withUnsafeBytes { assembler.body($0) } == content([1, 2, 3, 4, 5]))
    }

    @Test func bodyOverTheLimitIsCountedAndNotKept() {
        var assembler = FrameAssembler(bodyLimit: 4)
        _ = assembler.method(deliver)
        #expect(properties.withUnsafeBytes { assembler.header(bodySize: 5, properties: $0) } == .none)
        #expect([UInt8]([1, 2, 3, 4]).withUnsafeBytes { assembler.body($0) } == .none)
        #expect([UInt8]([5]).withUnsafeBytes { assembler.body($0) } == content([], skipped: 5))
    }

    @Test func announcedSizeIsNotAllocated() {
        var assembler = FrameAssembler(bodyLimit: .max)
        _ = assembler.method(deliver)
        #expect(properties.withUnsafeBytes { assembler.header(bodySize: .max, properties: $0) } == .none)
    }

    @Test func methodsWithoutContentPass() {
        var assembler = FrameAssembler(bodyLimit: 4)
        #expect(assembler.method(.ack(tag: 3, multiple: true)) == .method(.ack(tag: 3, multiple: true)))
        #expect(assembler.method(.cancel) == .method(.cancel))
        #expect(assembler.method(.gotNothing) == .method(.gotNothing))
    }

    @Test func closingCutsAMessageShort() {
        var assembler = FrameAssembler(bodyLimit: 4)
        _ = assembler.method(deliver)
        let close = IncomingMethod.channelClose(code: 404, text: "gone", isPublish: false)
        #expect(assembler.method(close) == .method(close))
        #expect(assembler.method(deliver) == .none)
    }

    @Test func framesOutOfPlaceAreViolations() {
        var assembler = FrameAssembler(bodyLimit: 4)
        #expect(isViolation(properties.withUnsafeBytes { assembler.header(bodySize: 0, properties: $0) }))
        #expect(isViolation([UInt8]([1]).withUnsafeBytes { assembler.body($0) }))
        #expect(isViolation(assembler.method(.unexpected(id: 0x0001_0002))))
        _ = assembler.method(deliver)
        #expect(isViolation(assembler.method(deliver)))
        #expect(isViolation(assembler.method(.ack(tag: 1, multiple: false))))
        #expect(isViolation([UInt8]([1]).withUnsafeBytes { assembler.body($0) }))
        _ = properties.withUnsafeBytes { assembler.header(bodySize: 1, properties: $0) }
        #expect(isViolation([UInt8]([1, 2]).withUnsafeBytes { assembler.body($0) }))
    }

    /// Whatever comes, the assembler answers, and keeps no more than a message's worth.
    @Test func anySequenceOfFramesIsAnswered() {
        let seed = UInt64.random(in: .min ... .max)
        print("seed \(seed)")
        var random = SeededGenerator(seed: seed)
        var assembler = FrameAssembler(bodyLimit: 64)
        for _ in 0..<50_000 {
            let bytes = (0..<Int.random(in: 0...40, using: &random)).map { _ in
                UInt8.random(in: 0...255, using: &random)
            }
            switch Int.random(in: 0..<6, using: &random) {
            case 0, 1: _ = assembler.method(deliver)
            case 2: _ = assembler.method(.returned(code: 312, text: "", exchange: "", routingKey: ""))
            case 3:
                _ = bytes.withUnsafeBytes {
                    assembler.header(bodySize: .random(in: 0...80, using: &random), properties: $0)
                }
            case 4: _ = bytes.withUnsafeBytes { assembler.body($0) }
            default: _ = assembler.method(.cancel)
            }
        }
    }
}

"""Builders of vendors' files: the structure that the formats prescribe, every part that a reader needs."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="session")
def counts() -> tuple[np.ndarray, np.ndarray]:
    """(two_theta [3251], counts [3251]): three peaks on a background, Poisson, 10 to 75 degrees by 0.02."""
    x = 10.0 + 0.02 * np.arange(3251)
    rate = 80.0 + 60.0 * np.exp(-(x - 10.0) / 15.0)
    for centre, height in ((21.36, 900.0), (30.385, 2500.0), (43.51, 600.0)):
        rate += height * np.exp(-4.0 * np.log(2.0) * ((x - centre) / 0.12) ** 2)
    return x, np.random.default_rng(11).poisson(rate).astype(float)


@pytest.fixture(scope="session")
def write_xrdml() -> Callable[..., Path]:
    def write(
        path: Path,
        x: np.ndarray,
        y: np.ndarray,
        *,
        intended: str = "K-Alpha",
        wavelengths: str = "1.5405980 1.5444260",
        element: str = "intensities",
        unit: str = "counts",
        extra: str = "",
        optics: str = "",
        scans: int = 1,
        axis: str = "2Theta",
    ) -> Path:
        first, second = wavelengths.split()
        values = " ".join(f"{v:g}" for v in y)
        scan = f"""
      <scan appendNumber="0" mode="Continuous" scanAxis="Gonio" status="Completed">
       <header><startTimeStamp>2021-03-16T13:10:14+03:00</startTimeStamp></header>
       <dataPoints>
        <positions axis="{axis}" unit="deg">
         <startPosition>{x[0]:.8f}</startPosition><endPosition>{x[-1]:.8f}</endPosition></positions>
        <positions axis="Omega" unit="deg">
         <startPosition>{x[0] / 2:.8f}</startPosition><endPosition>{x[-1] / 2:.8f}</endPosition></positions>
        <commonCountingTime unit="seconds">39.270</commonCountingTime>{extra}
        <{element} unit="{unit}">{values}</{element}>
       </dataPoints>
      </scan>"""
        path.write_text(
            f"""<?xml version="1.0" encoding="UTF-8"?>
<xrdMeasurements xmlns="http://www.xrdml.com/XRDMeasurement/1.6" status="Completed">
 <sample type="To be analyzed"><id>s1</id><name>corundum</name></sample>
 <xrdMeasurement measurementType="Scan" status="Completed" sampleMode="Reflection">
  <usedWavelength intended="{intended}">
   <kAlpha1 unit="Angstrom">{first}</kAlpha1><kAlpha2 unit="Angstrom">{second}</kAlpha2>
   <kBeta unit="Angstrom">1.3922500</kBeta><ratioKAlpha2KAlpha1>0.5000</ratioKAlpha2KAlpha1>
  </usedWavelength>
  <incidentBeamPath><radius unit="mm">240.00</radius>
   <xRayTube id="1"><tension unit="kV">45.0</tension><current unit="mA">40.0</current>
    <anodeMaterial>Cu</anodeMaterial></xRayTube>{optics}
  </incidentBeamPath>{scan * scans}
 </xrdMeasurement>
</xrdMeasurements>
""",
            encoding="utf-8",
        )
        return path

    return write


@pytest.fixture(scope="session")
def write_rasx() -> Callable[..., Path]:
    def write(
        path: Path, x: np.ndarray, y: np.ndarray, *, factor: np.ndarray | None = None, unit: str = "counts"
    ) -> Path:
        third = np.ones_like(x) if factor is None else factor
        rows = "\n".join(f"{a:.4f}\t{b:g}\t{c:.4f}" for a, b, c in zip(x, y, third))
        conditions = f"""<?xml version="1.0" encoding="utf-8"?>
<MeasurementConditions>
 <GeneralInformation><SystemName>SmartLab</SystemName></GeneralInformation>
 <SampleInformation><SampleName>corundum</SampleName></SampleInformation>
 <ScanInformation><AxisName>TwoTheta</AxisName><Mode>Continuous</Mode><Start>{x[0]}</Start>
  <Stop>{x[-1]}</Stop><Step>{x[1] - x[0]:.4f}</Step><Speed>2.0</Speed><SpeedUnit>deg/min</SpeedUnit>
  <PositionUnit>deg</PositionUnit><IntensityUnit>{unit}</IntensityUnit></ScanInformation>
 <HWConfigurations>
  <XrayGenerator><TargetName>Co</TargetName><Voltage>40</Voltage><VoltageUnit>kV</VoltageUnit>
   <Current>30</Current><CurrentUnit>mA</CurrentUnit><WavelengthKalpha1>1.788965</WavelengthKalpha1>
   <WavelengthKalpha2>1.792850</WavelengthKalpha2><WavelengthKbeta>1.620790</WavelengthKbeta></XrayGenerator>
  <Categories><Category Name="Detector" SelectedUnit="DteX250(H)"/></Categories>
  <Optics><Optic>PB</Optic></Optics>
  <Distances><Distance To="a" From="b" Unit="mm" Value="300"/></Distances>
 </HWConfigurations>
 <RASHeader><Pair><Key>MEAS_COND_AXIS_NAME-0</Key><Value>2theta</Value></Pair>
  <Pair><Key>MEAS_COND_AXIS_NAME-1</Key><Value>omega</Value></Pair></RASHeader>
 <Axes><Axis Name="TwoTheta" Unit="deg" Offset="0" Position="10" Novelty="1"/>
  <Axis Name="Omega" Unit="deg" Offset="0" Position="5"/></Axes>
</MeasurementConditions>"""
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("root.xml", "<Root/>")
            archive.writestr("Data0/Profile0.txt", "\ufeff" + rows)
            archive.writestr("Data0/MesurementConditions0.xml", conditions)
        return path

    return write


@pytest.fixture(scope="session")
def write_brml() -> Callable[..., Path]:
    def write(path: Path, x: np.ndarray, y: np.ndarray) -> Path:
        datum = "\n".join(f"<Datum>0.5,1,{a:.5f},{a / 2:.5f},{b:g}</Datum>" for a, b in zip(x, y))
        step = x[1] - x[0]
        raw = f"""<?xml version="1.0" encoding="utf-8"?>
<RawData xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
 <FixedInformation>
  <Instrument><PrimaryTracks><TrackInfoData><MountedOptics>
   <InfoData xsi:type="TubeMountInfoData"><Tube><TubeMaterial>Cu</TubeMaterial>
    <Generator><Voltage Unit="kV" Value="40"/><Current Unit="mA" Value="40"/></Generator>
    <WaveLengthAlpha1 Unit="Å" Value="1.540600"/><WaveLengthAlpha2 Unit="Å" Value="1.544390"/>
    <WaveLengthBeta Unit="Å" Value="1.392200"/><WaveLengthRatio Unit="" Value="0.5"/></Tube></InfoData>
   <InfoData xsi:type="SlitInfoData"/>
  </MountedOptics></TrackInfoData></PrimaryTracks></Instrument>
  <Drives><InfoData LogicName="Theta"><Position Unit="deg" Value="5"/></InfoData>
   <InfoData LogicName="Phi"><Position Unit="deg" Value="0"/></InfoData></Drives>
 </FixedInformation>
 <DataRoutes><DataRoute>
  <ScanInformation ScanName="Locked Coupled" VisibleName="Coupled TwoTheta/Theta">
   <MeasurementPoints>{x.size}</MeasurementPoints><TimePerStep>0.5</TimePerStep>
   <TimePerStepEffective>96</TimePerStepEffective><ScanMode>CONTINUOUS</ScanMode>
   <ScanAxes>
    <ScanAxisInfo AxisName="TwoTheta"><Unit Base="Degree"/><Reference>0</Reference><Start>{x[0]:.6f}</Start>
     <Stop>{x[-1]:.6f}</Stop><Increment>{step:.6f}</Increment></ScanAxisInfo>
    <ScanAxisInfo AxisName="Theta"><Unit Base="Degree"/><Reference>0</Reference><Start>{x[0] / 2:.6f}</Start>
     <Stop>{x[-1] / 2:.6f}</Stop><Increment>{step / 2:.6f}</Increment></ScanAxisInfo>
   </ScanAxes></ScanInformation>
  <DataViews>
   <RawDataView xsi:type="FixedRawDataView" LogicName="MeasuredTime" Start="0" Length="1"/>
   <RawDataView xsi:type="FixedRawDataView" LogicName="AbsorptionFactor" Start="1" Length="1"/>
   <RawDataView xsi:type="RecordedRawDataView" Start="4" Length="1">
    <Recording LogicName="Counter1D"/></RawDataView>
  </DataViews>
  {datum}
 </DataRoute></DataRoutes>
</RawData>"""
        container = (
            "<DataContainer><RawDataReferenceList><string>Experiment0/RawData0.xml</string>"
            "</RawDataReferenceList></DataContainer>"
        )
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("Experiment0/DataContainer.xml", container)
            archive.writestr("Experiment0/RawData0.xml", raw)
        return path

    return write


@pytest.fixture(scope="session")
def write_raw3() -> Callable[..., Path]:
    """Bruker .raw, "RAW1.01": a header of 712 bytes, then ranges with headers of 304."""

    def write(path: Path, x: np.ndarray, y: np.ndarray) -> Path:
        header = bytearray(712)
        header[:8] = b"RAW1.01\x00"
        struct.pack_into("<ii", header, 8, 1, 1)  # file done, one range
        header[16:26], header[26:36] = b"03/16/2021", b"13:10:14  "
        header[326:334] = b"corundum"
        header[608:610] = b"Cu"
        struct.pack_into("<ddddd", header, 616, 1.54184, 1.5406, 1.54439, 1.39222, 0.5)
        part = bytearray(304)
        struct.pack_into("<iidd", part, 0, 304, x.size, x[0] / 2, x[0])
        struct.pack_into("<d", part, 176, x[1] - x[0])
        struct.pack_into("<f", part, 192, 2.0)
        struct.pack_into("<d", part, 240, 1.5406)
        struct.pack_into("<iii", part, 248, 0, 4, 0)  # intensities alone, 4 bytes, no supplement
        path.write_bytes(bytes(header) + bytes(part) + y.astype("<f4").tobytes())
        return path

    return write


@pytest.fixture(scope="session")
def write_raw4() -> Callable[..., Path]:
    """Bruker .raw, version 4, with the field positions that fairmat-readers-xrd knows."""

    def write(path: Path, x: np.ndarray, y: np.ndarray, *, shift: int = 0) -> Path:
        header = bytearray(0x051F + shift)
        header[:8] = b"RAW4.00\x00"
        header[0x01A8 + shift : 0x01AA + shift] = b"Mo"
        struct.pack_into("<H", header, 0x01C3 + shift, x.size)
        struct.pack_into("<d", header, 0x020F + shift, x[1] - x[0])
        header[0x04D0 + shift : 0x04D6 + shift] = b"2Theta"
        struct.pack_into("<d", header, 0x04FB + shift, x[0])
        pairs = np.stack([y, np.zeros_like(y)], axis=1).astype("<f4")
        path.write_bytes(bytes(header) + pairs.tobytes())
        return path

    return write
